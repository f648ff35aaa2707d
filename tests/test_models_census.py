"""Every decoder that Transformers registers is exact, refused with a line, or cannot be built."""

import re
from pathlib import Path

import pytest
import transformers
from scripts import census
from scripts.census.page import state

PAGE = (Path(__file__).parents[1] / "docs" / "census.md").read_text(encoding="utf-8")
MOE = ("moe.pre", "moe.act", "moe.out", "moe.router")
OUTCOMES = dict(re.findall(r"^\| `(\w+)` \| ([a-z ]+) \|", PAGE, re.MULTILINE))
CLASSES = census.classes()


MADE_WITH = re.findall(r"Transformers (\S+) ", PAGE)
same_version = pytest.mark.skipif(
    transformers.__version__ not in MADE_WITH,
    reason=f"docs/census.md was made with Transformers {', '.join(MADE_WITH)}, here is "
    f"{transformers.__version__}: its rows are not compared (python -m scripts.census remakes it)",
)


def test_the_page_says_its_version_and_no_row_is_wrong():
    assert len(MADE_WITH) == 1
    assert set(OUTCOMES.values()) <= {"exact", "refused", "not built"}


@same_version
def test_the_page_has_a_row_for_every_class():
    assert OUTCOMES.keys() == set(CLASSES)


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "GPT2LMHeadModel", "Llama4ForCausalLM"])
def test_the_census_examines(name):
    row = census.examined(CLASSES[name], name)
    assert (row["status"], row["why"]) == ("exact", "")
    assert set(row["sites"].values()) == {"exact"}
    assert set(row["bake"].values()) == {"exact"}


def test_a_wrong_number_is_seen(monkeypatch):
    """The census with one fault of each kind in what it examines."""
    from langneurons.intervention import baking

    scale = baking._scale
    monkeypatch.setattr(baking, "_scale", lambda module, factor: scale(module, factor * 1.01))
    row = census.examined("llama", "LlamaForCausalLM")
    assert row["status"] == "wrong"
    assert "baked at mlp.act: off by" in row["why"]


def test_a_wrong_number_inside_experts_is_seen(monkeypatch):
    from langneurons.models import expert_units

    # The other half of what the up projection gives.
    monkeypatch.setattr(expert_units, "gate_columns", lambda _module, width: slice(width, None))
    row = census.examined("mixtral", "MixtralForCausalLM")
    assert row["status"] == "wrong"
    assert "moe.pre" in row["why"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"status": "exact", "hybrid": False, "sites": dict.fromkeys(MOE, "exact")}, "supported"),
        ({"status": "exact", "hybrid": True, "sites": dict.fromkeys(MOE, "exact")}, "hybrid"),
        ({"status": "exact", "hybrid": False, "sites": {"moe.router": "exact"}}, "in part"),
        ({"status": "exact", "hybrid": True, "sites": {"moe.act": "exact"}}, "in part"),
        ({"status": "exact", "hybrid": False, "sites": {"mlp.act": "exact"}}, "refused"),
        ({"status": "refused", "sites": dict.fromkeys(MOE, "exact")}, "refused"),
    ],
)
def test_state_of_a_mixture(row, expected):
    assert state(row) == expected


def test_every_mixture_of_the_page_has_a_state():
    part = PAGE.partition("## Mixtures of experts")[2].partition("## All classes")[0]
    states = dict(re.findall(r"^\| `(\w+)` \| ([a-z ]+) \|", part, re.MULTILINE))
    assert set(states.values()) == {"supported", "hybrid", "in part", "refused"}
    assert (states["MixtralForCausalLM"], states["JambaForCausalLM"]) == ("supported", "hybrid")


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_every_decoder_of_transformers(name):
    row = census.examined(CLASSES[name], name)
    assert row["status"] != "wrong", row["why"]
    if transformers.__version__ in MADE_WITH:
        assert row["status"] == OUTCOMES[name]
    else:
        pytest.skip(f"not wrong; not compared: {same_version.kwargs['reason']}")
