"""The words for values, read from their grammar: docs/values.md."""

from __future__ import annotations

from langneurons.intervention.words import PARTS, WORDS

HEAD = """# Words for values

What is written over units is said in the same words everywhere: in a study file
(`interventions.values`, `perplexity.value`, ...), on the command line (`--value mean@en`) and in
Python (`ln.Intervention.of(units, "mean@en", stats)`). The order is
`VALUE[@LANGUAGE][@TAKEN[@WRITTEN]][@SCOPE]`. What the scopes mean:
[Interventions](interventions.md). Perplexity and sweeps write over every token and take no scope;
studies take all but `prompt` and `generated`, as they score texts that are given.

This page is written by `make pages` from the grammar.
"""


def page() -> str:
    """The page, as Markdown."""
    return f"{HEAD}\n{_table('value', WORDS)}\n{_table('with', PARTS)}"


def _table(head: str, words: dict[str, str]) -> str:
    rows = "".join(f"| `{word}` | {meaning} |\n" for word, meaning in words.items())
    return f"| {head} | meaning |\n| --- | --- |\n{rows}"
