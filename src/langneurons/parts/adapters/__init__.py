"""Adapters: fine-tuning only some units."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.adapters.spec import AdapterSpec
from langneurons.reporting.columns import Columns

add(
    Part(
        "adapters",
        350,
        spec=AdapterSpec,
        many=True,
        noun="adapter",
        names={"adapter": 4},
        kinds={
            "finetune": Kind(later(f"{__name__}.run:finetune")),
        },
        columns={
            "scores": Columns(
                "task adapter language metric intervention units neurons seed",
                "n value low high difference difference_low difference_high p_value p_holm mde "
                "chance",
            ),
            "odd_rows": Columns("task language", "n no_gold romanised replaced english cut"),
            "two_holders": Columns(
                shown_as="Scores without intervention on items in whose text two people or more "
                "have what is asked: there the person decides."
            ),
            "finetuning": Columns(
                "adapter task train_language units seed", "trainable seconds loss"
            ),
            "supervision": Columns(
                "task language metric units attention held shots seed",
                "n value low high difference difference_low difference_high p_value p_holm mde "
                "chance",
            ),
            "adapters": Columns(
                "task language metric adapter reference", "n difference low high p_holm mde"
            ),
            "adapter_seeds": Columns(
                "task language metric adapter reference",
                "seeds difference std low high p_holm detectable",
            ),
            "adapter_sets": Columns(
                "task language metric", "attention sets seeds f p_value p_holm std df detectable"
            ),
        },
        **functions(__name__, "check verify narrow examples repeat stages takes tables page"),
    )
)
