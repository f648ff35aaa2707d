"""What a stage of falling back does."""

from __future__ import annotations

from pathlib import Path

from langneurons.artifacts import write_table
from langneurons.interface.workshop import Workshop


def fallback(workshop: Workshop, output: Path, start: str) -> None:
    """Continue prompts of a language with it, then with what replaces it, switched off."""
    from langneurons.evaluation.fallback import fallback as fall

    context = workshop.context
    spec = context.spec_of("fallback")
    site = context.site(spec.neurons)
    changes = {lang: workshop.change(spec.value, lang, site) for lang in context.languages}
    table = fall(
        workshop.lm,
        workshop.prompts(start, spec.prompts, spec.prompt_words),
        start,
        context.languages,
        workshop.neurons(spec.neurons),
        {lang: (change["value"], change.get("mode", "set")) for lang, change in changes.items()},
        steps=spec.steps,
        controls={"random": spec.random, "matched": spec.matched},
        stats=workshop.statistics(site),
        seed=context.seed,
        max_new_tokens=spec.new_tokens,
    )
    write_table(output, table.assign(start=start, neurons=spec.neurons, value=spec.value))
