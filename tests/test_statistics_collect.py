"""Collecting against the definition: every activation recorded, and reduced in float64."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny
from langneurons.data import Blocks, make_blocks
from langneurons.errors import InputError, RunError
from langneurons.models import LanguageModel, hook_site
from langneurons.statistics import Statistics, collect, collector, estimate, passing
from langneurons.statistics.options import PAPER_PROBABILITIES

TEXTS = [f"Nr {n}: " + "the cat and the dog, चित्र 猫。 " * (n % 4 + 1) for n in range(12)]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """Float64, so that a different batch shape changes no sign."""
    found = tiny.lm("llama")
    found.model.double()
    return found


def record(lm: LanguageModel, blocks: Blocks, site: str = "mlp.act") -> torch.Tensor:
    """Activations of the counted tokens, one block at a time without padding: (tokens, L, U)."""
    rows: list[torch.Tensor] = []
    for row in range(len(blocks)):
        real = blocks.attention_mask[row]
        seen: dict[int, torch.Tensor] = {}
        keep = seen.__setitem__
        with torch.no_grad(), hook_site(lm, site, lambda layer, x, keep=keep: keep(layer, 1 * x)):
            lm.backbone(input_ids=blocks.input_ids[row : row + 1, real])
        stacked = torch.stack([seen[layer][0] for layer in range(lm.layers)], dim=1)
        rows.append(stacked[blocks.counted[row][real]])
    return torch.cat(rows).double()


def check(stats: Statistics, lang: str, x: torch.Tensor, tolerance: float = 1e-9) -> None:
    assert stats.tokens[lang] == len(x)
    assert torch.equal(stats.count_positive[lang], (x > 0).sum(0))
    for found, expected in (
        (stats.prob_positive(lang), (x > 0).double().mean(0)),
        (stats.mean(lang), x.mean(0)),
        (stats.std(lang), x.std(0, correction=0)),
        (stats.abs_mean(lang), x.abs().mean(0)),
        (stats.minimum(lang), x.amin(0)),
        (stats.maximum(lang), x.amax(0)),
    ):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "bloom", "phi3", "gemma3"])
@pytest.mark.parametrize("site", ["mlp.act", "attn.head"])
def test_statistics_by_definition(family: str, site: str) -> None:
    lm = tiny.lm(family)
    lm.model.double()
    blocks = make_blocks(TEXTS, lm.tokenizer, block=24, bos=True)
    stats = collect(lm, {"xx": blocks}, site=site, quantiles="exact", batch_size=3)
    x = record(lm, blocks, site)
    check(stats, "xx", x)
    probabilities = [0.0, 0.05, 0.5, 0.93, 1.0]
    expected = torch.quantile(x, torch.tensor(probabilities, dtype=torch.float64), dim=0)
    torch.testing.assert_close(stats.quantile("xx", probabilities), expected)
    torch.testing.assert_close(stats.quantile("xx", 0.5), expected[2])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    batch_size=st.integers(1, 9),
    side=st.sampled_from(["left", "right"]),
    order=st.permutations(range(len(TEXTS))),
    cut=st.integers(1, len(TEXTS) - 1),
)
def test_batch_size_padding_order_and_splitting_change_nothing(
    lm: LanguageModel, batch_size: int, side: str, order: list[int], cut: int
) -> None:
    def blocks(chosen: list[str]) -> Blocks:
        return make_blocks(chosen, lm.tokenizer, block=24, bos=True, padding_side=side)

    whole = collect(lm, {"xx": make_blocks(TEXTS, lm.tokenizer, block=24, bos=True)}, rows=40)
    shuffled = [TEXTS[n] for n in order]
    once = collect(lm, {"xx": blocks(shuffled)}, rows=40, batch_size=batch_size)
    first = collect(lm, {"xx": blocks(shuffled[:cut])}, rows=40, batch_size=batch_size)
    second = collect(lm, {"xx": blocks(shuffled[cut:])}, rows=40, batch_size=batch_size)
    for other in (once, first.merge(second), second.merge(first)):
        assert other.tokens == whole.tokens
        assert torch.equal(other.count_positive["xx"], whole.count_positive["xx"])
        for name in ("mean", "std", "abs_mean", "minimum", "maximum"):
            torch.testing.assert_close(
                getattr(other, name)("xx"), getattr(whole, name)("xx"), rtol=1e-9, atol=1e-9
            )
        for name in ("keys", "row_documents", "row_positions", "row_tokens"):
            assert torch.equal(getattr(other, name)("xx"), getattr(whole, name)("xx"))
        for layer in range(lm.layers):
            torch.testing.assert_close(other.rows("xx", layer), whole.rows("xx", layer))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_models(dtype: torch.dtype) -> None:
    lm = tiny.lm("llama")
    lm.model.to(dtype)
    blocks = make_blocks(TEXTS, lm.tokenizer, block=24)
    stats = collect(lm, {"xx": blocks}, batch_size=1)
    x = record(lm, blocks)
    check(stats, "xx", x, tolerance=1e-5)
    rows = torch.stack([stats.rows("xx", layer) for layer in range(lm.layers)], dim=1)
    assert rows.dtype == torch.bfloat16
    expected = x.to(dtype).to(torch.bfloat16).double()
    torch.testing.assert_close(rows.double().sort(dim=0).values, expected.sort(dim=0).values)


def test_the_sample_holds_the_activations_of_its_tokens(lm: LanguageModel) -> None:
    blocks = make_blocks(TEXTS, lm.tokenizer, block=24)
    stats = collect(lm, {"xx": blocks}, rows=30, batch_size=4)
    x = record(lm, blocks)
    block, column = blocks.counted.nonzero(as_tuple=True)
    place = {
        (int(blocks.document_keys[blocks.document[b]]), int(blocks.position[b, c])): n
        for n, (b, c) in enumerate(zip(block.tolist(), column.tolist(), strict=True))
    }
    documents, positions = stats.row_documents("xx"), stats.row_positions("xx")
    assert len(positions) == 30
    for layer in range(lm.layers):
        rows = stats.rows("xx", layer)
        for n in range(30):
            token = place[int(documents[n]), int(positions[n])]
            torch.testing.assert_close(rows[n], x[token, layer].bfloat16(), rtol=0.01, atol=1e-6)


def test_no_logits_are_computed(lm: LanguageModel) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the head ran")

    handle = lm.model.get_output_embeddings().register_forward_hook(refuse)
    try:
        collect(lm, {"xx": TEXTS[:2]})
    finally:
        handle.remove()


def test_no_hook_is_left_behind_and_the_model_is_untouched(lm: LanguageModel) -> None:
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        before = lm.model(ids).logits
    collect(lm, {"xx": TEXTS[:2]})
    with torch.no_grad():
        assert torch.equal(lm.model(ids).logits, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())


def test_statistics_can_be_used_where_gradients_flow(lm: LanguageModel) -> None:
    stats = collect(lm, {"xx": TEXTS[:3]})
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    (stats.mean("xx") * weight).sum().backward()
    torch.testing.assert_close(weight.grad, stats.mean("xx").sum())


def test_out_of_memory_halves_the_batch_and_the_pass_goes_on(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = make_blocks(TEXTS, lm.tokenizer, block=24)
    whole = collect(lm, {"xx": blocks}, batch_size=1, rows=40)
    sizes: list[int] = []
    real = collector.run_backbone

    def limited(lm: LanguageModel, ids: torch.Tensor, mask: torch.Tensor) -> None:
        sizes.append(len(ids))
        if len(ids) > 3:  # fails in the last layer, when the others have been seen
            handle = lm.layer_modules[-1].register_forward_pre_hook(_out_of_memory)
            try:
                real(lm, ids, mask)
            finally:
                handle.remove()
        real(lm, ids, mask)

    monkeypatch.setattr(collector, "run_backbone", limited)
    stats = collect(lm, {"xx": blocks}, batch_size=8, rows=40)
    assert sizes[0] == 8
    assert max(sizes[3:]) <= 3
    assert stats.tokens == whole.tokens
    assert torch.equal(stats.count_positive["xx"], whole.count_positive["xx"])
    assert torch.equal(stats.keys("xx"), whole.keys("xx"))
    torch.testing.assert_close(stats.mean("xx"), whole.mean("xx"))
    torch.testing.assert_close(stats.rows("xx", 1), whole.rows("xx", 1))


def _out_of_memory(*_: object) -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_block_that_never_fits_is_one_clear_error(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "run_backbone", _out_of_memory)
    with pytest.raises(RunError, match="does not fit into the memory of cpu: use a smaller block"):
        collect(lm, {"xx": TEXTS})
    monkeypatch.setattr(collector, "run_backbone", _other_error)
    with pytest.raises(RuntimeError, match="something else"):
        collect(lm, {"xx": TEXTS})


def _other_error(*_: object) -> None:
    raise RuntimeError("something else")


def test_paper_protocol_is_the_mean_of_batch_quantiles_at_mlp_pre(lm: LanguageModel) -> None:
    stats = collect(lm, {"xx": TEXTS}, protocol="paper", block=16, batch_size=2)
    assert stats.site == "mlp.pre"
    blocks = make_blocks(TEXTS, lm.tokenizer, block=16, pack=True, bos=False)
    p = torch.tensor(PAPER_PROBABILITIES, dtype=torch.float64)
    parts = [
        torch.quantile(record(lm, blocks[start : start + 2], "mlp.pre"), p, dim=0)
        for start in range(0, len(blocks), 2)
    ]
    expected = torch.stack(parts).mean(0)
    torch.testing.assert_close(stats.quantile("xx", PAPER_PROBABILITIES), expected)
    with pytest.raises(InputError, match=r"no quantile 0\.3"):
        stats.quantile("xx", 0.3)
    strict = collect(lm, {"xx": blocks}, site="mlp.pre", quantiles="exact")
    assert not torch.allclose(strict.quantile("xx", 0.9), stats.quantile("xx", 0.9))
    # The two sites agree on which tokens are positive, since the activation keeps the sign.
    act = collect(lm, {"xx": blocks}, site="mlp.act")
    assert torch.equal(act.count_positive["xx"], stats.count_positive["xx"])


def test_single_options_can_be_switched_alone(lm: LanguageModel) -> None:
    stats = collect(lm, {"xx": TEXTS}, site="mlp.act", protocol="paper", block=32, pack=False)
    assert stats.site == "mlp.act"
    assert stats["xx"].options["quantiles"] == "batch-mean"
    assert stats["xx"].options["pack"] is False


def test_prefix_only_counting_equals_the_difference_of_counts(lm: LanguageModel) -> None:
    prefixes = [f"Question {n}? " for n in range(4)]
    answers = [f" Answer {n} of the cat." for n in range(4)]
    blocks = make_blocks(answers, lm.tokenizer, block=200, prefixes=prefixes)
    stats = collect(lm, {"xx": blocks})
    everything = make_blocks(
        [p + a for p, a in zip(prefixes, answers, strict=True)], lm.tokenizer, block=200
    )
    skipped = everything.tokens - blocks.tokens
    assert skipped > 0
    x = record(lm, everything)
    keep = blocks.counted[everything.counted]
    assert torch.equal(stats.count_positive["xx"], (x[keep] > 0).sum(0))


def test_bad_input_is_one_clear_line(lm: LanguageModel, tmp_path: Path) -> None:
    for arguments, message in (
        ({"texts": {}}, "no text"),
        ({"texts": {"xx": [" "], "yy": TEXTS}}, None),
        ({"texts": {"xx": []}}, "text of 'xx'"),
        ({"site": "mlp.akt"}, "Did you mean 'mlp.act'"),
        ({"protocol": "papre"}, "Did you mean 'paper'"),
        ({"quantiles": "exakt"}, "Did you mean 'exact'"),
        ({"rows": -1}, "rows must be at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"checkpoint_blocks": 0}, "checkpoint_blocks must be at least 1"),
        ({"texts": {"a/b": TEXTS}, "output": tmp_path}, "cannot be a file name"),
    ):
        if message is None:
            continue
        given = {"texts": {"xx": TEXTS[:1]}, **arguments}
        with pytest.raises(InputError, match=message) as caught:
            collect(lm, given.pop("texts"), **given)
        assert "\n" not in str(caught.value)


def test_nan_is_reported_with_the_unit() -> None:
    lm = tiny.lm("llama")
    with torch.no_grad():
        lm.layer_modules[1].mlp.gate_proj.weight[3] = float("nan")
    with pytest.raises(RunError, match=r"infinity in text of 'xx' \(first: layer 1, unit 3\)"):
        collect(lm, {"xx": TEXTS[:2]})


def test_estimate_says_what_collect_then_finds(lm: LanguageModel, tmp_path: Path) -> None:
    texts = {"xx": TEXTS, "yy": TEXTS[:3]}
    expected = estimate(lm, texts, rows=50, output=tmp_path)
    assert list(tmp_path.iterdir()) == []
    stats = collect(lm, texts, rows=50, output=tmp_path)
    assert expected.tokens == stats.tokens
    assert expected.tokens_per_second > 0
    assert expected.seconds == pytest.approx(
        sum(stats.tokens.values()) / expected.tokens_per_second
    )
    written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    headers = 4000 * (lm.layers + 1) * 2
    assert written <= expected.disk + headers
    assert "tokens xx" in str(expected)
    assert estimate(lm, texts, measure=False).seconds is None


def test_refuses_what_cannot_fit(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    real = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: real._replace(available=1000))
    with pytest.raises(InputError, match="memory beyond the model, 1 kB are free: give an output"):
        collect(lm, {"xx": TEXTS})
    monkeypatch.undo()
    from langneurons.statistics import estimation

    usage = estimation.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(estimation.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="on disk, 10 B are free"):
        collect(lm, {"xx": TEXTS}, output=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(lm: LanguageModel, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(InputError, match="cannot write"):
        collect(lm, {"xx": TEXTS[:1]}, output=blocker / "inside")


def test_finished_languages_are_not_collected_again(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = collect(lm, {"xx": TEXTS}, output=tmp_path, rows=20)
    monkeypatch.setattr(passing, "Collector", _other_error)
    again = collect(lm, {"xx": TEXTS}, output=tmp_path, rows=20)
    assert again.fingerprint == first.fingerprint
    for changed in ({"rows": 21}, {"seed": 1}, {"block": 16}, {"site": "mlp.out"}):
        with pytest.raises(RuntimeError, match="something else"):
            collect(lm, {"xx": TEXTS}, output=tmp_path, **{"rows": 20, **changed})
    with pytest.raises(RuntimeError, match="something else"):
        collect(lm, {"xx": TEXTS[1:]}, output=tmp_path, rows=20)
    with pytest.raises(RuntimeError, match="something else"):
        collect(lm, {"xx": TEXTS}, output=tmp_path, rows=20, resume=False)
    damaged = bytearray((tmp_path / "xx.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "xx.safetensors").write_bytes(damaged)
    with pytest.raises(RuntimeError, match="something else"):
        collect(lm, {"xx": TEXTS}, output=tmp_path, rows=20)
