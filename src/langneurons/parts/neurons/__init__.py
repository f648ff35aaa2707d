"""Neuron sets: which units belong to which language."""

from langneurons.interface.part import Kind, Part, add, functions, later
from langneurons.parts.neurons.spec import NeuronsSpec
from langneurons.reporting.columns import OVERLAP, Columns

add(
    Part(
        "neurons",
        100,
        spec=NeuronsSpec,
        many=True,
        noun="neuron set",
        default=lambda: {"lape": {}},
        names={"neurons": 2, "a": 3},
        kinds={
            "neurons": Kind(later(f"{__name__}.run:neurons")),
            "read": Kind(later(f"{__name__}.run:read"), model=False),
            "derived": Kind(later(f"{__name__}.run:derived"), model=False),
            "overlap": Kind(later(f"{__name__}.run:overlap"), model=False),
        },
        columns={
            "neurons": Columns("neurons language", "layer units total"),
            "overlap": Columns(
                "a b language_a language_b",
                "size_a size_b shared jaccard expected p_value",
                old=OVERLAP,
            ),
        },
        **functions(__name__, "check verify files narrow sites stages tables page"),
    )
)
