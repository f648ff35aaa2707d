"""One folder outside the package adds a word to study files: stage, table, section and figure."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

import study_world
from langneurons.artifacts import read_json

FILES = {
    "spec.py": """
        from pydantic import Field
        from langneurons.interface.spec import Spec

        class LengthsSpec(Spec):
            '''How long the words of each language are.'''
            languages: list[str] | None = Field(None, description="Languages; default: all.")
            documents: int = Field(5, ge=1, description="Documents read.")

        def check(spec, context):
            context.known_languages("lengths.languages", spec.languages)
    """,
    "stages.py": """
        from langneurons.stages.stage import Stage

        def stages(spec, context):
            return [
                Stage(
                    name=f"lengths/{lang}",
                    kind="lengths",
                    arguments={"language": lang},
                    settings={"documents": spec.documents, "text": context.of.texts[lang]},
                    parents=(),
                    output=f"lengths/{lang}.parquet",
                )
                for lang in spec.languages or context.languages
            ]
    """,
    "run.py": """
        import pandas as pd
        from langneurons.artifacts import write_table

        def lengths(workshop, output, language):
            texts = workshop.texts[language].statistics
            count = workshop.context.spec_of("lengths").documents
            words = [len(word) for text in texts[:count] for word in text.split()]
            row = {"language": language, "words": len(words), "length": sum(words) / len(words)}
            write_table(output, pd.DataFrame([row]))
    """,
    "tables.py": """
        def tables(results):
            return {"lengths": results.rows("lengths")}
    """,
    "page.py": """
        from langneurons.reporting.figures.canvas import blank
        from langneurons.reporting.sections import Picture, Section
        from langneurons.reporting.sentences import Sentence
        from langneurons.reporting.tables.plain import plain

        def sections(run):
            table = run.table("lengths")
            if table is None:
                return
            longest = table.loc[table["length"].idxmax()]
            said = f"Words are longest in {longest['language']}."
            figure = blank(2.0)
            figure.subplots().bar(list(table["language"]), list(table["length"]))
            yield Section(
                "part-lengths",
                "Length of words",
                [Sentence(said, "finding")],
                [
                    Picture("lengths", "Mean length of words.", figure),
                    plain(table, "lengths", "Length of words", "Mean length of words."),
                ],
            )
    """,
    "__init__.py": """
        from extra_lengths.spec import LengthsSpec
        from langneurons.reporting.columns import Columns
        from langneurons.interface.part import Kind, Part, add, functions, later

        add(
            Part(
                "lengths",
                120,
                spec=LengthsSpec,
                kinds={"lengths": Kind(later("extra_lengths.run:lengths"), model=False)},
                columns={"lengths": Columns("language", "words length")},
                **functions(__name__, "check stages tables page"),
            )
        )
    """,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny study, and beside it a distribution with one part, as installed."""
    root = study_world.build(tmp_path_factory.mktemp("part"))
    package = root / "site" / "extra_lengths"
    package.mkdir(parents=True)
    for name, text in FILES.items():
        (package / name).write_text(textwrap.dedent(text), encoding="utf-8")
    meta = root / "site" / "extra_lengths-1.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: extra-lengths\nVersion: 1\n")
    (meta / "entry_points.txt").write_text("[langneurons.parts]\nlengths = extra_lengths\n")
    (root / "lengths.yaml").write_text(
        "include: study.yaml\nperplexity: null\nlengths: {documents: 3, languages: [hi, en]}\n"
    )
    return root


def call(world, monkeypatch, *words):
    """The command line in a process that finds the distribution."""
    import langneurons

    source = Path(langneurons.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{world / 'site'}:{source}")
    command = [sys.executable, "-c", "from langneurons.cli.app import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_new_word_runs_from_file_to_page(world, monkeypatch):
    out = world / "run"
    said = call(world, monkeypatch, "run", str(world / "lengths.yaml"), "-o", str(out),
                "-s", "threads=1", "--json")  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["failed"] == []
    table = pd.read_parquet(out / "tables" / "lengths.parquet")
    # Rows stand in the order of the study's languages, whatever the part's own is.
    assert table["language"].tolist() == ["en", "hi"]
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "Length of words" in page
    assert "Words are longest in" in page
    assert (out / "report" / "figures" / "lengths.svg").is_file()
    record = read_json(out / ".stages" / "lengths~en.json")
    assert "extra_lengths.run" in record["code"]


def test_its_keys_are_checked_and_its_code_is_in_the_keys(world, monkeypatch):
    wrong = call(world, monkeypatch, "run", str(world / "lengths.yaml"), "--dry-run",
                 "-s", "lengths.document=3")  # fmt: skip
    assert wrong.returncode == 2
    assert "unknown key 'document' in 'lengths'. Did you mean 'documents'" in wrong.stderr
    wrong = call(world, monkeypatch, "run", str(world / "lengths.yaml"), "--dry-run",
                 "-s", "lengths.languages=[xx]")  # fmt: skip
    assert wrong.returncode == 2
    assert "unknown language 'xx' in 'lengths.languages'" in wrong.stderr
    path = world / "site" / "extra_lengths" / "run.py"
    path.write_text(path.read_text().replace("sum(words) / len(words)", "max(words)"))
    why = call(world, monkeypatch, "explain", str(world / "run"), "lengths")
    assert "lengths/en: would run: the code has changed: extra_lengths.run" in why.stdout
