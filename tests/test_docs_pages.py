"""Pages made from the source are current, and what they list keeps the rules it promises."""

import re

import pytest
from scripts import command_page, error_catalogue, key_page, pages

from langneurons.interface.spec import nested

ERRORS = error_catalogue.entries()
# What tells the reader what to do: an instruction, or the condition a value has to meet.
ADVICE = re.compile(
    r"(?:[:;,.(] |\b(?:or|and|then) |^)(?:else )?(?:give|use|take|choose|set|add|install|load|find|"
    r"train|collect|leave|lower|raise|run|make|fetch|free|pass|put|check|say|see|name|connect|write|"
    r"convert|merge|identify|evaluate|wait|upgrade|accept|read|rename|fit|derive|define|save|mend|"
    r"shorten|keep|change|compare|export|fold|bake|pip install|look)\b"
    r"|\bmust\b|\bneeds?\b|, not\b|, (?:got|of)\b|\bknown: |\bDid you mean\b|is none of"
    r"|\b(?:it|they) ha(?:s|ve)\b|ha(?:s|ve) layers|there are (?:layers|experts)|can only be"
    r"|lies? (?:within|between)|\bcount from\b",
    re.IGNORECASE,
)
WRAPS = re.compile(r"\{(?:error|advice)\}\.?$")  # ends in another text of ours, which says it
NAMES = ("PEFT ", "LEACE ", "McNemar's ", "Transformers ")


@pytest.mark.parametrize("name", pages.PAGES)
def test_a_made_page_is_current(name):
    written = (pages.DOCS / name).read_text(encoding="utf-8")
    assert written == pages.PAGES[name](), f"docs/{name} is old: run `make pages`"


def test_the_catalogue_finds_errors_in_every_room():
    assert {entry.room for entry in ERRORS} == set(error_catalogue.ROOMS)
    assert len(ERRORS) > 400


@pytest.mark.parametrize(
    ("rule", "keeps"),
    [
        ("is one line", lambda said: said and said.strip() == said and "\n" not in said),
        ("ends as a sentence", lambda said: re.search(r"[.?)\]}]$", said)),
        # It is shown behind "langneurons: ".
        ("starts small", lambda said: re.match(r"[a-z'{(-]", said) or said.startswith(NAMES)),
        ("says what to do", lambda said: ADVICE.search(said) or WRAPS.search(said)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_error_keeps_a_rule(rule, keeps):
    broken = [f"{row.module}:{row.line} {row.message}" for row in ERRORS if not keeps(row.message)]
    assert not broken, f"not so: {rule}"


@pytest.mark.parametrize(
    "said", ["no file 'x'.", "the bounds are of different sites.", "x failed."]
)
def test_a_message_without_advice_is_seen(said):
    assert not ADVICE.search(said)
    assert not WRAPS.search(said)


def test_a_message_stays_one_line_whatever_it_quotes():
    from langneurons.errors import ArtifactError, InputError, RunError

    for kind in (InputError, RunError, ArtifactError):
        assert str(kind("'x' is damaged (first\n  second\r\nthird): make it again.")) == (
            "'x' is damaged (first second third): make it again."
        )


@pytest.mark.parametrize(("name", "command"), list(command_page.commands()), ids=lambda v: str(v))
def test_every_command_has_a_help_text_and_examples_that_it_understands(name, command):
    assert command.help
    shown = command_page.examples(command)
    assert shown
    known = {word for item in command.params for word in (*item.opts, *item.secondary_opts)}
    for line in shown:
        own = [part for part in line.split("&&") if f"langneurons {name}" in part]
        assert own, line
        options = re.findall(r"(?<=\s)--?[a-z][a-z-]*", own[0])
        assert set(options) <= known, line


def test_the_key_page_holds_every_part_of_the_schema():
    places = [place for place, _ in key_page.sections()]
    assert len(places) == len(set(places))
    assert {"statistics", "neurons.NAME", "adapters.NAME.hold", "tasks.NAME", "ray"} <= set(places)
    for place, model in [("", key_page.schema()), *key_page.sections()]:
        for name, field in model.model_fields.items():
            assert field.description or nested(field.annotation), f"{place}.{name}"
