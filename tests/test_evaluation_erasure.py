"""Linear subspaces: their definitions, what erasing leaves and costs."""

import inspect

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import tiny
from langneurons.data import make_blocks
from langneurons.data.tasks import get_task
from langneurons.errors import InputError
from langneurons.evaluation import perplexity
from langneurons.evaluation.erasure import erase_languages, move, split
from langneurons.evaluation.examples import AnswerLoss
from langneurons.evaluation.probing import Probe, labelled
from langneurons.evaluation.token_loss import find_head
from langneurons.identification import NeuronSet, Units, identify
from langneurons.identification.subspaces import (
    KINDS,
    discriminant,
    fit,
    of_units,
    random_subspace,
)
from langneurons.intervention.erasing import erased
from langneurons.models import hook_site
from langneurons.statistics import collect
from study_world import WORDS, documents


def clouds(seed=0, n=300, width=12, languages=3, gap=2.0):
    """Activations of languages with a common covariance and different means."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator) / 2
    return {
        f"l{k}": torch.randn(n, width, generator=generator) @ mix
        + gap * torch.randn(width, generator=generator)
        for k in range(languages)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_erasing_makes_the_means_equal_where_it_should(kind):
    rows = clouds()
    item = fit(rows, kind)
    assert item.rank == 2
    means = torch.stack([item.erase(x).mean(0) for x in rows.values()])
    projection = item.left @ item.right
    torch.testing.assert_close(projection @ projection, projection, rtol=1e-3, atol=1e-4)
    read = (means - means.mean(0)) @ item.right.T
    assert read.abs().max() < 1e-3  # nothing is left along what the projection reads
    if kind != "lda":
        assert (means - means.mean(0)).abs().max() < 1e-3
    common = torch.cat(list(rows.values())).mean(0)
    torch.testing.assert_close(means.mean(0), common, rtol=1e-3, atol=1e-3)


def test_leace_changes_less_than_the_orthogonal_projection():
    rows = clouds(gap=0.5)
    whole = torch.cat(list(rows.values()))
    white = torch.linalg.inv(torch.linalg.cholesky(torch.cov(whole.T)))
    cost = {
        kind: ((fit(rows, kind).erase(whole) - whole) @ white.T).square().sum(1).mean()
        for kind in ("leace", "mean")
    }
    assert cost["leace"] < cost["mean"]


def test_the_discriminant_is_fishers():
    rows = clouds(languages=2, n=4000)
    x = torch.cat(list(rows.values())).double().numpy()
    model = LinearDiscriminantAnalysis(solver="eigen").fit(x, np.repeat([0, 1], 4000))
    coefficients = torch.from_numpy(model.coef_[0])
    found = {kind: discriminant(rows, "l1", kind) for kind in ("lda", "leace")}
    gap = found["lda"].gap
    for item in found.values():
        read = item.shares / gap
        cosine = torch.cosine_similarity(read, coefficients, dim=0)
        assert abs(cosine) > 0.999
        assert float(item.shares.sum()) == pytest.approx(1)
    # In units of the variance within, the best gap there is: Mahalanobis' distance.
    within = sum(np.cov(item.double().numpy().T, bias=True) for item in rows.values()) / 2
    best = gap.numpy() @ np.linalg.solve(within, gap.numpy())
    assert found["lda"].fisher == pytest.approx(best, rel=0.02)
    assert discriminant(rows, "l1", "mean").fisher < best


def test_a_classifier_finds_nothing_after_leace_and_all_after_a_random_one():
    rows = clouds(n=800, gap=3.0)
    owners = {name: np.arange(800) // 10 for name in rows}
    second = labelled(
        {k: v[400:] for k, v in rows.items()}, {k: v[400:] for k, v in owners.items()}
    )
    item = fit({name: x[:400] for name, x in rows.items()}, "leace")

    def accuracy(change):
        train = labelled(
            {k: change(v[:400]) for k, v in rows.items()}, {k: v[:400] for k, v in owners.items()}
        )
        return float((Probe(train).predict(change(second.x)) == second.language).mean())

    assert accuracy(lambda x: x) > 0.95
    assert accuracy(item.erase) < 0.42
    assert accuracy(random_subspace(item, 2, 0).erase) > 0.9


def test_units_are_set_to_the_origin():
    rows = clouds(width=6)
    origin = fit(rows, "mean").origin
    item = of_units(Units([0, 0, 1], [2, 4, 5]), 0, origin)
    x = rows["l0"]
    out = item.erase(x)
    assert item.rank == 2
    torch.testing.assert_close(out[:, [2, 4]], origin[[2, 4]].expand(len(x), 2))
    torch.testing.assert_close(out[:, [0, 1, 3, 5]], x[:, [0, 1, 3, 5]])


@pytest.fixture(scope="module")
def world():
    lm = tiny.lm("llama", max_position_embeddings=512)
    texts = {lang: documents(lang) for lang in WORDS}
    stats = collect(lm, texts, site="resid", block=32, rows=600, tokens=2000)
    blocks = {lang: make_blocks(texts[lang][:6], lm.tokenizer, block=32) for lang in WORDS}
    return lm, texts, stats, blocks


@pytest.mark.parametrize("site", ["resid", "mlp.act", "attn.v"])
def test_the_model_reads_the_erased_stream(world, site):
    lm = world[0]
    width = lm.sites[site].width
    generator = torch.Generator().manual_seed(1)
    rows = {k: torch.randn(40, width, generator=generator) + k for k in (0, 1, 2)}
    item = fit(rows, "mean")
    ids = torch.arange(20)[None]
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        with hook_site(lm, site, lambda n, v: seen.__setitem__("plain", v.clone()), layers=[1]):
            lm.model(input_ids=ids)
        with (
            erased(lm, site, {1: item}),
            hook_site(lm, site, lambda n, v: seen.__setitem__("erased", v.clone()), layers=[1]),
        ):
            lm.model(input_ids=ids)
    expected = torch.empty_like(seen["plain"])
    basis = item.left.double()
    for place, x in enumerate(seen["plain"][0].double()):
        part = sum((((x - item.origin) @ b) * b for b in basis.T), torch.zeros(width).double())
        expected[0, place] = (x - part).float()
    torch.testing.assert_close(seen["erased"], expected, rtol=1e-4, atol=1e-4)


def test_erasing_beside_its_controls(world):
    lm, _, stats, blocks = world
    task = get_task("mini-nli", sizes={"test": 4})
    losses = AnswerLoss(lm, task, "en", task.examples("en", limit=3), find_head(lm))
    found = erase_languages(
        lm, stats, blocks, layers=[0, 1], kinds=["mean", "leace"], random=1, rows=150,
        tasks={"mini-nli en": losses},
        neurons=NeuronSet(
            {"en": Units([0, 0, 1], [1, 2, 3]), "hi": Units([0], [2])}, (2, 32), site="resid",
            method="x",
        ),
    )  # fmt: skip
    language = found.language
    assert set(language["kind"]) == {"none", "mean", "leace", "random", "neurons", "random units"}
    assert set(language["layer"]) == {"-", "0", "1", "all"}
    assert (language["chance"] == 1 / 3).all()
    one = language[(language["kind"] == "neurons") & (language["layer"] == "0")].iloc[0]
    assert one["rank"] == 2
    # LEACE promises nothing on other documents, but on clouds this clear it comes near chance.
    here = language.set_index(["kind", "layer"])["here"]
    assert here["leace", "0"] < here["none", "-"] - 0.2
    assert language["here_low"].dropna().le(language["here"].dropna()).all()
    cost = found.cost
    item = fit(split(stats, 1, 150).fitted, "mean")
    with erased(lm, "resid", {1: item}):
        direct = perplexity(lm, blocks["hi"]).value
        answer = losses()
    row = cost[(cost["kind"] == "mean") & (cost["layer"] == "1") & (cost["on"] == "hi")].iloc[0]
    assert row["value"] == pytest.approx(direct / perplexity(lm, blocks["hi"]).value, rel=1e-5)
    row = cost[(cost["kind"] == "mean") & (cost["layer"] == "1") & (cost["measure"] == "task")]
    assert row["value"].item() == pytest.approx((answer - losses()).mean(), abs=1e-6)


def test_moving_a_language(world):
    lm, _, stats, blocks = world
    table = move(lm, stats, blocks["hi"], "hi", "en", layer=0, kinds=["mean"], random=1, rows=150)
    table = table.set_index("kind")
    assert table.loc["mean", "taken_for_target"] > table.loc["random", "taken_for_target"]
    assert (table["taken_low"] <= table["taken_for_target"]).all()
    assert table.loc["mean", "ratio"] != 1
    # The random subspace has as many dimensions: one fewer than there are languages.
    assert table["rank"].tolist() == [2, 2]
    assert table["seed"].tolist() == [0, 0]
    several = move(
        lm, stats, blocks["hi"], "hi", "en", layer=0, kinds=["mean"], random=2, seed=3, rows=150
    )
    assert several.loc[several["kind"] == "random", "seed"].tolist() == [3, 4]
    assert several["rank"].tolist() == [2, 2, 2]


def test_halves_share_no_document(world):
    half = split(world[2], 0, 10_000)
    for k in range(3):
        first = set(half.train.document[half.train.language == k].tolist())
        second = set(half.test.document[half.test.language == k].tolist())
        assert first
        assert second
        assert not first & second


def test_identification_by_subspace_in_a_set(world):
    found = identify(world[2], "subspace", top=4, kind="leace")
    assert found.site == "resid"
    assert all(len(units) == 4 for units in found.values())


def test_what_does_not_fit_is_refused(world):
    with pytest.raises(InputError, match="unknown kind of subspace 'leaec'"):
        fit(clouds(), "leaec")
    with pytest.raises(InputError, match="two languages or more"):
        fit(clouds(languages=1), "mean")
    with (
        pytest.raises(InputError, match=r"is of width 12, 'mlp.act'"),
        erased(world[0], "mlp.act", {0: fit(clouds(), "mean")}),
    ):
        pass


def test_defaults_are_part_of_every_result_and_stay():
    for function in (erase_languages, move):
        given = inspect.signature(function).parameters
        known = {"random": 2, "rows": 1000, "seed": 0, "level": 0.95}
        assert {name: given[name].default for name in known} == known
