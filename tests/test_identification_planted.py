"""On a model whose language units were planted, methods find what was planted."""

import pytest
from bench._planting import LANGUAGES, LAYERS, PURE, plant, recovery

from langneurons.identification import METHODS, identify
from langneurons.statistics import collect


@pytest.fixture(scope="module")
def world():
    planted = plant()
    return planted, collect(planted.lm, planted.texts, rows=1024)


def options(name):
    if name == "dln":  # a pair's unit is a multi-language neuron by its definition
        return {"single": True}
    if name == "activation_probability":
        return {"split_half": False}
    if name == "transfer":
        return {"top": 8, "layers": (0, LAYERS)}
    return {}


# `expert_share` compares the experts of a layer by how many tokens each gets; an MLP's planted
# units all get every token. test_identification_routing.py holds it against published experts.
OF_NEURONS = [name for name in METHODS.names() if name != "expert_share"]


@pytest.mark.parametrize("name", OF_NEURONS)
def test_planted_units_are_found(world, name):
    planted, statistics = world
    found = identify(
        statistics,
        name,
        model=planted.lm,
        texts=planted.texts,
        per_language=PURE * LAYERS,
        **options(name),
    )
    table = recovery(found, planted)
    assert table["precision"].mean() == 1.0, table.to_string()
    assert table["recall"].mean() == 1.0, table.to_string()


def test_lape_is_perfect_by_its_own_rule(world):
    planted, statistics = world
    found = identify(statistics, "lape", top=PURE * LAYERS * len(LANGUAGES))
    assert found == planted.truth


def test_a_subset_of_languages_needs_no_new_pass(world):
    planted, statistics = world
    found = identify(statistics, "lape", languages=["cc", "aa"], top=PURE * LAYERS * 2)
    assert list(found) == ["cc", "aa"]
    # Without bb and dd, the units of their pairs with cc and aa are units of cc and aa alone.
    for language in found:
        kinds = planted.kinds[found[language].layers, found[language].indices]
        assert {name for kind in kinds for name in kind.split("+")} & {"cc", "aa"} == {language}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["lape", "entropy_lambda", "mutual_information", "dln"])
def test_units_that_never_or_always_fire_belong_to_nobody(world, name):
    planted, statistics = world
    for units in identify(statistics, name).values():
        assert not {"dead", "always"} & set(planted.kinds[units.layers, units.indices])
