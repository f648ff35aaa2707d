"""Methods on units inside experts, in both readings, and controls of the same load and activity."""

import numpy as np
import pytest
import torch

import langneurons as ln
import mixtures
from langneurons.errors import InputError
from langneurons.identification import METHODS, NeuronSet, Units
from langneurons.identification.controls import random_like
from langneurons.statistics import Statistics
from langneurons.statistics.language import LanguageStatistics
from langneurons.statistics.moments import Moments
from langneurons.statistics.routed import Routing
from test_statistics_experts import TEXTS

EXPERTS, INNER, TOKENS = 6, 20, 10_000
READING_COUNTS_OR_MEANS = sorted(
    name for name in METHODS if METHODS.get(name).needs in ("counts", "moments")
)


def planted(loads, rates, site="moe.act"):
    """Statistics of one layer: language to load of each expert and rates (experts, inner) there."""
    items = {}
    for lang, load in loads.items():
        n = (torch.as_tensor(load).double() * TOKENS).long()
        active = torch.as_tensor(rates[lang]).double()
        count = (n.double()[:, None] * active).round().long().flatten()[None]
        on = n.double().repeat_interleave(INNER)[None]
        mean = count.double() / TOKENS  # every active unit is 1, every other 0
        squares = count.double() * (1 - mean)
        moments = Moments(TOKENS, count, mean, squares, count.double(), 0 * mean, (count > 0) * 1.0)
        routing = Routing(n[None], 0 * on, (count > 0) * 1.0)
        items[lang] = LanguageStatistics(TOKENS, count, moments, routing=routing)
    return Statistics(site, (1, EXPERTS * INNER), None, items)


def two_languages():
    """Expert 1 is for "aa" and expert 2 for "bb"; unit 5 of expert 0 is itself "aa"'s."""
    generator = torch.Generator().manual_seed(0)
    base = 0.1 + 0.3 * torch.rand(EXPERTS, INNER, generator=generator)
    loads = {"aa": [0.5, 0.4, 0.05, 0.3, 0.4, 0.35], "bb": [0.5, 0.05, 0.4, 0.3, 0.4, 0.35]}
    rates = {lang: base.clone() for lang in loads}
    rates["aa"][0, 5], rates["bb"][0, 5] = 0.9, 0.02
    return planted(loads, rates)


def test_the_two_readings_tell_routing_from_activity():
    """Units of expert 1 are "aa"s by its routing: in all tokens, not in those routed to it."""
    stats = two_languages()
    everything = ln.identify(stats, "mutual_information", top=8)
    inside = ln.identify(stats, "mutual_information", top=1, reading="routed")
    assert set(inside["aa"].pairs()) == {(0, 5)}
    assert inside.parameters["reading"] == "routed"
    assert everything.parameters["reading"] == "all"
    mine = set(everything["aa"].pairs())
    assert (0, 5) in mine
    assert len([unit for _, unit in mine if unit // INNER == 1]) >= 6
    assert inside.statistics != everything.statistics
    again = ln.identify(stats.read_as("routed"), "mutual_information", top=1)
    assert again["aa"] == inside["aa"]
    assert (
        "reading"
        not in ln.identify(
            Statistics.from_counts(stats.count_positive, stats.tokens), "mutual_information", top=1
        ).parameters
    )


@pytest.mark.parametrize("method", READING_COUNTS_OR_MEANS)
@pytest.mark.parametrize("reading", ["all", "routed"])
def test_every_method_on_counts_or_means(method, reading):
    """The unit that is active in one language alone is found in both readings."""
    stats = two_languages()
    options = {"filter": 0.5, "bar": 0.5} if METHODS.get(method).name.startswith("lape") else {}
    found = ln.identify(stats, method, reading=reading, per_language=40, **options)
    assert (0, 5) in set(found["aa"].pairs())
    assert (0, 5) not in set(found["bb"].pairs())


def test_units_of_experts_that_a_language_hardly_uses_are_left_out_and_counted():
    stats = two_languages()
    few = [0.5, 0.4, 0.002, 0.3, 0.4, 0.35]  # 20 tokens of expert 2, fewer than 30
    other = planted({"aa": few}, {"aa": torch.full((EXPERTS, INNER), 0.3)})
    joined = Statistics("moe.act", stats.shape, None, {"aa": other["aa"], "bb": stats["bb"]})
    assert joined.read_as("routed").prob_positive("aa")[0].isnan().sum() == INNER
    with pytest.warns(UserWarning, match=r"20 of 120 units are left out: too few tokens of some"):
        found = ln.identify(joined, "mutual_information", reading="routed", per_language=100)
    assert not {u for _, u in found["bb"].pairs()} & set(range(2 * INNER, 3 * INNER))
    with pytest.warns(UserWarning, match=r"20 units have no defined score"):
        found = ln.identify(joined, "difference", reading="routed", per_language=100)
    assert not {u for _, u in found["bb"].pairs()} & set(range(2 * INNER, 3 * INNER))


def test_methods_on_rows_read_all_tokens_and_refuse_routed_ones():
    model = mixtures.lm("Qwen2-MoE")
    stats = ln.collect(model, TEXTS, site="moe.act", block=16, rows=40)
    found = ln.identify(stats, "average_precision", top=5)
    assert found.site == "moe.act"
    assert {layer for layer, _ in found["en"].pairs()} <= {0, 2}
    with pytest.raises(InputError, match="of routed tokens differ from expert to expert"):
        ln.identify(stats, "average_precision", reading="routed")
    with pytest.raises(InputError, match="do not say which tokens were routed"):
        ln.identify(ln.collect(model, TEXTS, site="moe.router", rows=0), reading="routed")


def test_a_set_goes_from_statistics_to_intervention():
    model = mixtures.lm("Mixtral")
    stats = ln.collect(model, TEXTS, site="moe.act", block=16, rows=0)
    found = ln.identify(stats, "mutual_information", top=6)
    with ln.intervene(model, found["en"]), torch.no_grad():
        model.model(input_ids=torch.arange(6)[None] + 5)
    found.check(model)
    again = NeuronSet.from_dict(found.to_dict())
    assert again.parameters["reading"] == "all"
    with ln.intervene(model, found["en"], site="moe.out"):  # the same coordinates
        pass
    with (
        pytest.raises(InputError, match=r"found at 'moe.act' and are no units of 'moe.router'"),
        ln.intervene(model, found["en"], site="moe.router"),
    ):
        pass


def control_world():
    """Loads and rates that are nowhere the same, so that a match can be measured."""
    generator = np.random.default_rng(0)
    load = {"aa": np.linspace(0.05, 0.6, EXPERTS), "bb": np.linspace(0.6, 0.05, EXPERTS)}
    rate = {lang: generator.uniform(0.02, 0.98, (EXPERTS, INNER)) for lang in load}
    return planted(load, rate)


def test_matched_controls_have_load_and_activity():
    stats = control_world()
    wanted = {"aa": Units.from_pairs([(0, i) for i in (3, 25, 47, 69, 91, 113)])}
    found = NeuronSet(wanted, stats.shape, site="moe.act", method="given", parameters={})
    load = stats.routed_tokens("aa")[0].double() / TOKENS
    rate = stats.read_as("routed").prob_positive("aa")[0]
    gaps = {True: [], False: []}
    for seed in range(20):
        for matched in (True, False):
            control = random_like(
                found, seed, matched="rate" if matched else None,
                statistics=stats if matched else None,
            )  # fmt: skip
            assert len(control["aa"]) == len(wanted["aa"])
            assert not set(control["aa"].pairs()) & set(wanted["aa"].pairs())
            a, b = wanted["aa"].indices, control["aa"].indices
            pairs = load[a // INNER].sort().values, load[b // INNER].sort().values
            rates = rate[a].sort().values, rate[b].sort().values
            gaps[matched].append([float((x - y).abs().mean()) for x, y in (pairs, rates)])
            if matched:
                assert control.parameters["mean_load_difference"]["aa"] < 0.2
                assert control.parameters["mean_rate_difference"]["aa"] < 0.2
    matched, plain = (np.mean(gaps[m], axis=0) for m in (True, False))
    assert (matched < 0.7 * plain).all(), (matched, plain)


def test_controls_of_experts_have_their_load():
    """At moe.router a rate is a load: nearest experts by the share of tokens."""
    counts = {lang: torch.arange(1, 41)[None] * 100 for lang in ("aa", "bb")}
    stats = Statistics.from_counts(counts, {"aa": 10_000, "bb": 10_000}, site="moe.router")
    units = {"aa": Units.from_pairs([(0, 20)])}
    found = NeuronSet(units, stats.shape, site="moe.router", method="given", parameters={})
    for seed in range(10):
        control = random_like(found, seed, matched="rate", statistics=stats)
        assert abs(int(control["aa"].indices[0]) - 20) <= 10
