"""Commands that compute nothing import nothing heavy; the short way says what the long one says."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import langneurons
from langneurons import data
from langneurons.cli.glance import glance
from langneurons.identification import NeuronSet, Units

HEAVY = ("torch", "transformers", "scipy", "pandas", "matplotlib", "datasets", "peft", "pyarrow")


def imported(*words):
    """Heavy packages that a command imports, and what it prints."""
    code = (
        "import sys, json\n"
        f"sys.argv = ['langneurons', *{list(words)!r}]\n"
        "from langneurons.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, found = done.stdout.strip().splitlines()
    return json.loads(found), "\n".join(lines)


@pytest.fixture
def neurons(tmp_path):
    made = NeuronSet({"en": Units([0, 1, 1], [3, 0, 2]), "hi": Units([], [])}, (2, 4))
    path = tmp_path / "neurons.json"
    made.save(path)
    return path


def test_showing_a_neuron_set_imports_neither_transformers_nor_pytorch(neurons):
    heavy, said = imported("neurons", "show", str(neurons))
    assert heavy == []
    assert "Total: en 3, hi 0" in said


@pytest.mark.parametrize("words", [("--help",), ("presets",), ("neurons", "--help")])
def test_commands_that_list_import_nothing_heavy(words):
    assert imported(*words)[0] == []


LINES = st.lists(st.lists(st.integers(-1, 5), max_size=4), max_size=4)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(["en", "hi", "zh"]), LINES, max_size=3))
def test_a_glance_is_what_the_whole_set_says(tmp_path_factory, units):
    path = tmp_path_factory.mktemp("glance") / "set.json"
    NeuronSet({"en": Units([0], [0])}, (3, 5)).save(path)
    value = json.loads(path.read_text(encoding="utf-8"))
    del value["sha256"]
    path.write_text(json.dumps({**value, "units": units}), encoding="utf-8")
    try:
        whole = NeuronSet.load(path)
    except Exception as error:
        with pytest.raises(type(error)):
            glance(path)
        return
    found = glance(path)
    counted = whole.per_layer()
    for lang in whole:
        assert found.units[lang] == counted[counted["language"] == lang]["units"].tolist()
    assert (found.method, found.site, found.shape) == (whole.method, whole.site, whole.shape)
    assert list(found.units) == list(whole)


@pytest.mark.parametrize("package", [langneurons, data])
def test_every_public_name_is_there(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        package.absent  # noqa: B018
