"""Adapters: fine-tuning only some units."""

from langneurons.reporting.columns import Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "adapters",
        350,
        columns={
            "finetuning": Columns(
                "adapter task train_language units seed", "trainable seconds loss"
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
        page=later(f"{__name__}.page:sections"),
    )
)
