"""Neuron sets: which units belong to which language."""

from langneurons.reporting.columns import OVERLAP, Columns
from langneurons.study.part import Part, add, later

add(
    Part(
        "neurons",
        100,
        columns={
            "neurons": Columns("neurons language", "layer units total"),
            "overlap": Columns(
                "a b language_a language_b",
                "size_a size_b shared jaccard expected p_value",
                old=OVERLAP,
            ),
        },
        page=later(f"{__name__}.page:sections"),
    )
)
