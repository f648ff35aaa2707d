"""Statistics of units inside experts: exact, mergeable, and of two readings."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import langneurons as ln
import mixtures
from langneurons.data import make_blocks
from langneurons.errors import InputError
from langneurons.models import hook_experts
from langneurons.models.expert_units import Routed
from langneurons.statistics import estimation, routed
from langneurons.statistics.collector import Collector
from langneurons.statistics.options import Options
from test_statistics_experts import TEXTS

INNER = 16


@pytest.fixture(scope="module")
def model():
    return mixtures.lm("Qwen2-MoE")  # layer 1 is dense


@pytest.fixture(scope="module")
def statistics(model):
    return ln.collect(model, TEXTS, site="moe.act", block=16, rows=50)


def by_hand(model, site, lang, block=16):
    """Layer to (values (tokens, experts, inner) float64 with NaN where not routed)."""
    blocks = make_blocks(TEXTS[lang], model.tokenizer, block=block, tokens=None, bos=None)
    found = {layer: [] for layer in model.sites[site].layers}
    for row in range(len(blocks)):
        counted = blocks.counted[row]
        ids = blocks.input_ids[row][blocks.attention_mask[row]][None]
        kept = counted[blocks.attention_mask[row]]
        seen = {}
        with torch.no_grad(), hook_experts(model, site, seen.__setitem__):
            model.model(input_ids=ids)
        for layer, rows in seen.items():
            whole = torch.full((ids.shape[1], mixtures.EXPERTS, INNER), torch.nan).double()
            for n in range(len(rows.values)):
                whole[int(rows.tokens[n]), int(rows.experts[n])] = rows.values[n].double()
            found[layer].append(whole[kept])
    return {layer: torch.cat(parts) for layer, parts in found.items()}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
@pytest.mark.parametrize("site", ["moe.act", "moe.pre", "moe.out"])
def test_both_readings_by_hand(site, implementation, batch_size):
    """Each block run by itself, unpadded; sums in float64 over all and over routed tokens."""
    model = mixtures.lm("Qwen2-MoE")
    model.model.set_experts_implementation(implementation)
    stats = ln.collect(model, TEXTS, site=site, block=16, rows=9, batch_size=batch_size)
    inside = stats.read_as("routed", least=1)
    close = {"rtol": 1e-4, "atol": 1e-6}
    for lang in TEXTS:
        for layer, values in by_hand(model, site, lang).items():
            assert stats.tokens[lang] == len(values)
            here = values.isfinite()
            n = here[:, :, 0].sum(0)
            assert torch.equal(stats.routed_tokens(lang)[layer], n)
            zeros = values.nan_to_num(0).flatten(1)
            active = (zeros > 0).sum(0)
            assert torch.equal(stats.count_positive[lang][layer], active)
            torch.testing.assert_close(
                stats.prob_positive(lang)[layer], active.double() / len(values)
            )
            torch.testing.assert_close(stats.mean(lang)[layer], zeros.mean(0), **close)
            torch.testing.assert_close(
                stats.std(lang)[layer], zeros.std(0, correction=0), rtol=1e-4, atol=1e-5
            )
            torch.testing.assert_close(stats.abs_mean(lang)[layer], zeros.abs().mean(0), **close)
            torch.testing.assert_close(stats.minimum(lang)[layer], zeros.amin(0), **close)
            torch.testing.assert_close(stats.maximum(lang)[layer], zeros.amax(0), **close)
            for expert in range(mixtures.EXPERTS):
                rows = values[here[:, expert, 0], expert]
                units = slice(expert * INNER, (expert + 1) * INNER)
                if not len(rows):
                    assert inside.mean(lang)[layer, units].isnan().all()
                    assert inside.prob_positive(lang)[layer, units].isnan().all()
                    assert inside.maximum(lang)[layer, units].isnan().all()
                    continue
                expected = {
                    "prob_positive": (rows > 0).double().mean(0),
                    "mean": rows.mean(0),
                    "abs_mean": rows.abs().mean(0),
                    "minimum": rows.amin(0),
                    "maximum": rows.amax(0),
                }
                for name, wanted in expected.items():
                    torch.testing.assert_close(
                        getattr(inside, name)(lang)[layer, units], wanted, **close
                    )
                torch.testing.assert_close(
                    inside.std(lang)[layer, units], rows.std(0, correction=0), rtol=1e-4, atol=1e-5
                )
        assert not stats.count_positive[lang][1].any()
        assert not stats.routed_tokens(lang)[1].any()


def test_rows_and_quantiles(model):
    """With every token kept, in the model's own dtype: quantiles of both readings are numpy's."""
    stats = ln.collect(model, TEXTS, site="moe.act", block=16, quantiles="exact")
    inside = stats.read_as("routed", least=1)
    for lang in TEXTS:
        for layer, values in by_hand(model, "moe.act", lang).items():
            zeros = values.nan_to_num(0).flatten(1)
            rows = stats.rows(lang, layer)
            assert rows.shape == zeros.shape
            for unit in (0, 5, 40):  # any order of tokens
                torch.testing.assert_close(
                    rows[:, unit].double().sort().values, zeros[:, unit].sort().values,
                    rtol=1e-4, atol=1e-6,
                )  # fmt: skip
            np.testing.assert_allclose(
                stats.quantile(lang, 0.9)[layer], np.quantile(zeros, 0.9, axis=0), rtol=1e-4,
                atol=1e-6,
            )  # fmt: skip
            for expert in range(mixtures.EXPERTS):
                own = values[values[:, expert, 0].isfinite(), expert]
                numbers, found = stats.routed_rows(lang, layer, expert)
                assert found.shape == own.shape
                units = slice(expert * INNER, (expert + 1) * INNER)
                assert torch.equal(rows[numbers][:, units], found)
                got = inside.quantile(lang, 0.25)[layer, units]
                if len(own):
                    np.testing.assert_allclose(
                        got, np.quantile(own, 0.25, axis=0), rtol=1e-4, atol=1e-6
                    )
                else:
                    assert got.isnan().all()
    torch.testing.assert_close(inside.quantile("en", 1.0), inside.maximum("en"), equal_nan=True)


def test_a_mean_is_known_from_the_fewest_routed_tokens_on(statistics):
    routed = statistics.routed_tokens("en")[0]
    least = int(routed[routed > 0].min())
    for fewest in (least, least + 1):
        mean = statistics.read_as("routed", least=fewest).mean("en")[0].view(-1, INNER)
        assert torch.equal(mean.isnan().all(1), routed < fewest)
        assert torch.equal(mean.isnan().any(1), routed < fewest)


def test_parts_of_a_text_merge_and_files_hold_all(model, tmp_path, statistics):
    halves = [
        ln.collect(model, {"en": TEXTS["en"][n : n + 1]}, site="moe.act", block=16, rows=50)
        for n in range(2)
    ]
    merged = halves[0].merge(halves[1])
    merged.save(tmp_path)
    merged = ln.Statistics.load(tmp_path)
    whole = statistics.select(["en"])
    assert torch.equal(merged.count_positive["en"], whole.count_positive["en"])
    assert torch.equal(merged.routed_tokens("en"), whole.routed_tokens("en"))
    for layer in (0, 2):
        torch.testing.assert_close(
            merged.rows("en", layer), whole.rows("en", layer), rtol=1e-2, atol=1e-3
        )  # kept in bfloat16
    for reading in ("all", "routed"):
        one, other = (item.read_as(reading, least=1) for item in (merged, whole))
        for name in ("mean", "std", "minimum", "maximum", "prob_positive"):
            torch.testing.assert_close(
                getattr(one, name)("en"), getattr(other, name)("en"), rtol=1e-5, atol=1e-6,
                equal_nan=True,
            )  # fmt: skip
    assert halves[0].fingerprint != halves[0].read_as("routed").fingerprint
    with pytest.raises(InputError, match=r"different readings do not merge \(all, routed\)"):
        halves[0].merge(halves[1].read_as("routed"))
    few, many = halves[0].read_as("routed", least=1), halves[1].read_as("routed", least=30)
    with pytest.raises(InputError, match=r"different fewest routed tokens do not merge \(1, 30\)"):
        few.merge(many)
    small = whole.in_layers([2, 0]).read_as("routed", least=1)
    torch.testing.assert_close(
        small.mean("en")[0], whole.read_as("routed", least=1).mean("en")[2], equal_nan=True
    )
    assert "of routed tokens" in repr(small)


def test_continued_after_a_stop(model, tmp_path, statistics, monkeypatch):
    stops = iter([None, RuntimeError("stopped")])
    commit = Collector.commit

    def stopping(self):
        error = next(stops, None)
        if error is not None:
            raise error
        commit(self)

    options = {"site": "moe.act", "block": 16, "rows": 50, "batch_size": 1, "checkpoint_blocks": 1}
    texts = {"en": TEXTS["en"]}
    monkeypatch.setattr(Collector, "commit", stopping)
    with pytest.raises(RuntimeError, match="stopped"):
        ln.collect(model, texts, output=tmp_path, **options)
    monkeypatch.setattr(Collector, "commit", commit)
    again = ln.collect(model, texts, output=tmp_path, **options)
    assert torch.equal(again.routed_tokens("en"), statistics.routed_tokens("en"))
    torch.testing.assert_close(again.mean("en"), statistics.mean("en"), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        again.read_as("routed", least=1).minimum("en"),
        statistics.read_as("routed", least=1).minimum("en"), equal_nan=True,
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


class _Largest(TorchDispatchMode):
    """Most elements of any tensor made."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else (result,):
            if isinstance(item, torch.Tensor):
                self.most = max(self.most, item.numel())
        return result


def test_no_tensor_of_all_units_and_tokens_is_made():
    """64 experts of 64 units, 2 of them for each token: 600 tokens times all would be 2.5 M."""
    model = mixtures.lm(
        "Mixtral", num_local_experts=64, intermediate_size=64, num_hidden_layers=1,
        vocab_size=300, hidden_size=16, head_dim=4,
    )  # fmt: skip
    _ = model.sites["moe.act"], model.fingerprint  # read every weight
    text = {"en": ["the cat sat on the mat and the dog ran to the house " * 20]}
    with _Largest() as largest:
        stats = ln.collect(model, text, site="moe.act", block=64, rows=600, batch_size=16)
    assert stats.tokens["en"] > 600
    assert largest.most < 600 * 64 * 64 / 10  # the model's own (rows, 2 x inner) is the largest
    assert 10 * largest.most < 600 * 64 * 64


def test_estimate_of_a_large_mixture():
    """Qwen3-30B-A3B, 8 languages: its 4.7 million units and 10,240 rows a language."""
    place = SimpleNamespace(inner=768, chosen=8, common=128 * 768)
    lm = SimpleNamespace(layers=48, sites={"moe.act": place}, dtype=torch.bfloat16)
    sizes = {lang: estimation.Size(400, 100_000) for lang in "abcdefgh"}
    resolved = Options.of(None, {"site": "moe.act"}).resolved()
    from pathlib import Path

    expected = estimation.expect(lm, sizes, resolved, Path("out"))
    state = 64 * 48 * 128 * 768
    layer = 10240 * 8 * 770 * 2
    assert expected.memory == state * (2 + 8) + 3 * layer  # 3.4 GB
    assert expected.memory < 4e9
    assert expected.disk == (8 + 1) * 48 * layer + state * 9


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_packed_rows_and_reductions(data):
    """Packing loses nothing; both ways to reduce a batch agree."""
    experts = data.draw(st.integers(1, 700))
    tokens, inner = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 5))
    k = data.draw(st.integers(1, min(3, experts)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    chosen = torch.stack([torch.randperm(experts, generator=generator)[:k] for _ in range(tokens)])
    order = torch.randperm(tokens * k, generator=generator)
    rows = Routed(
        torch.randn(tokens * k, inner, generator=generator).to(torch.bfloat16),
        chosen.flatten()[order],
        torch.arange(tokens).repeat_interleave(k)[order],
    )
    kept = torch.randperm(tokens, generator=generator)[: data.draw(st.integers(0, tokens))]
    packed = routed.pack(rows, kept, k + 1)
    assert packed.shape == (len(kept), (k + 1) * (2 + inner))
    token, expert, values = routed.unpack(packed, inner)
    got = {
        (int(kept[t]), int(e)): v.tolist() for t, e, v in zip(token, expert, values, strict=True)
    }
    wanted = {
        (int(t), int(e)): v.tolist()
        for t, e, v in zip(rows.tokens, rows.experts, rows.values, strict=True)
        if int(t) in kept.tolist()
    }
    assert got == wanted
    one = int(chosen[0, 0])
    where, found = routed.unpack_expert(packed, inner, one)
    assert {int(kept[t]) for t in where} == {t for t, e in wanted if e == one}
    assert found.shape == (len(where), inner)
    ascending = torch.argsort(rows.experts, stable=True)
    n = torch.bincount(rows.experts, minlength=experts)
    for a, b in zip(
        routed._one_by_one(rows.values, ascending, n),
        routed._together(rows.values, ascending, n),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_shared_reading_is_refused_where_nothing_is_routed(model, statistics):
    dense = ln.collect(model, TEXTS, site="moe.router", block=16, rows=0)
    with pytest.raises(InputError, match=r"'moe.router' do not say which tokens were routed: read"):
        dense.read_as("routed")
    with pytest.raises(InputError, match=r"do not say which tokens were routed: collect"):
        dense.routed_tokens("en")
    with pytest.raises(InputError, match="unknown reading 'both'"):
        statistics.read_as("both")
    with pytest.raises(InputError, match="no expert 6: there are experts 0 to 5"):
        statistics.routed_rows("en", 0, 6)
    with pytest.raises(InputError, match="of routed tokens differ from expert to expert"):
        statistics.read_as("routed").rows("en", 0)
    with pytest.raises(InputError, match=r"quantiles of batches are not taken at 'moe.act'"):
        ln.collect(model, TEXTS, site="moe.act", protocol="paper")


def test_rows_too_large_to_spread_out(statistics, monkeypatch):
    from langneurons.statistics import values

    monkeypatch.setattr(values, "_DENSE_BYTES", 100)
    with pytest.raises(InputError, match=r"of all experts take 0.0 GiB a layer: use a method"):
        statistics.rows("en", 0)
    assert statistics.quantile("en", 0.5).shape == (3, 96)
