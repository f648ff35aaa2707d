"""What README and pages show is true of this tree: examples, commands, targets, links, version."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from scripts import command_page

from langneurons.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MADE = {"commands.md", "errors.md", "keys.md", "records.md"}  # with tests of their own, or records
COMMANDS = dict(command_page.commands())


def lines(path):
    """Every command line of the fenced blocks, continued ones joined, and of `inline` code."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for inline in re.findall(r"(?<!`)`(langneurons [a-z][^`]*)`(?!`)", text):
        yield " ".join(inline.split())
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            command = line.strip().removeprefix("$ ").partition(" # ")[0].strip()
            if command.startswith(("langneurons ", "make ")):
                yield command


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_targets_shown_exist(path):
    if path.name in MADE:
        return
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in lines(path):
        words = shlex.split(line)
        if words[0] == "make":
            assert words[1] in targets, line
            continue
        name = " ".join(words[1:3]) if " ".join(words[1:3]) in COMMANDS else words[1]
        assert name in COMMANDS, line
        known = {"--help", "--debug", "--quiet", "-q"} | {
            option
            for item in COMMANDS[name].params
            for option in (*item.opts, *item.secondary_opts)
        }
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, line


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_linked_to_exist(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_the_version_is_the_same_everywhere():
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"langneurons {__version__}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_tutorial_and_page_is_in_the_navigation():
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    for path in (ROOT / "docs").rglob("*.md"):
        assert str(path.relative_to(ROOT / "docs")) in listed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_the_python_example_runs_and_prints_a_perplexity(name, capsys):
    text = (ROOT / name).read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    exec(compile(example, name, "exec"), {})
    assert re.search(r"perplexity [\d.]+", capsys.readouterr().out)
