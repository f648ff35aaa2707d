"""Several sites in one pass: the statistics of each alone, to the last bit, also after a kill."""

import contextlib
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from langneurons import progress
from langneurons.errors import InputError
from langneurons.models import LanguageModel
from langneurons.statistics import Statistics, collect, collect_sites, collector, passing
from test_statistics_resume import TEXTS, contents, in_child, killed_at_call

SITES = ["mlp.act", "mlp.pre", "attn.head", "resid"]
OPTIONS = {"block": 24, "rows": 200, "batch_size": 3}


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny.lm("llama")


def together(lm: LanguageModel, folder: Path, sites: list[str] = SITES) -> dict[str, Statistics]:
    outputs = {site: folder / site for site in sites}
    return collect_sites(lm, TEXTS, sites, outputs=outputs, checkpoint_blocks=5, **OPTIONS)


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blocks of each forward pass from now on."""
    found: list[int] = []
    real = collector.run_backbone

    def counted(lm: LanguageModel, ids: torch.Tensor, mask: torch.Tensor) -> None:
        found.append(len(ids))
        real(lm, ids, mask)

    monkeypatch.setattr(collector, "run_backbone", counted)
    return found


@pytest.fixture(scope="module")
def alone(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of each site collected by itself."""
    folder = tmp_path_factory.mktemp("alone")
    for site in SITES:
        collect(lm, TEXTS, site=site, output=folder / site, checkpoint_blocks=5, **OPTIONS)
    return contents(folder)


def test_each_is_what_it_is_alone_and_the_text_passes_once(
    lm: LanguageModel, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = passes(monkeypatch)
    found = together(lm, tmp_path)
    assert list(found) == SITES
    assert contents(tmp_path) == alone
    blocks = sum(seen)
    seen.clear()
    collect(lm, TEXTS, **OPTIONS)
    assert blocks == sum(seen)


@pytest.mark.parametrize("family", ["opt", "gpt2", "phi3", "gemma3"])
@pytest.mark.parametrize("options", [{}, {"protocol": "paper"}, {"quantiles": "exact"}])
def test_any_family_and_protocol_in_memory(family: str, options: dict[str, object]) -> None:
    lm = tiny.lm(family)
    text = {"xx": TEXTS["en"][:12]}
    sites = ["mlp.pre", "mlp.out", "attn.out"]
    found = collect_sites(lm, text, sites, block=24, **options)
    for site in sites:
        one = collect(lm, text, site=site, block=24, **options)
        assert found[site].fingerprint == one.fingerprint
        for name, tensor in one["xx"].moments.tensors().items():
            assert torch.equal(found[site]["xx"].moments.tensors()[name], tensor), name
        for layer in range(lm.layers):
            assert torch.equal(found[site].rows("xx", layer), one.rows("xx", layer))
        if one["xx"].batch_quantiles is not None:
            assert torch.equal(
                found[site]["xx"].batch_quantiles.values, one["xx"].batch_quantiles.values
            )


@pytest.mark.parametrize("name", ["run_backbone", "write_tensors"])
@pytest.mark.parametrize("number", [1, 7, 18])
def test_killed_anywhere_they_meet_again(
    lm: LanguageModel, tmp_path: Path, alone: dict[str, bytes], name: str, number: int
) -> None:
    # Killed between the states of two sites, one is further than the other.
    kill = lambda: killed_at_call(  # noqa: E731
        collector, name, number, lambda: together(lm, tmp_path)
    )
    assert in_child(kill) == -signal.SIGKILL
    assert in_child(lambda: together(lm, tmp_path)) == 0
    assert contents(tmp_path) == alone


def test_one_site_far_behind_meets_the_other(
    lm: LanguageModel, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = lambda: collect(  # noqa: E731
        lm, TEXTS, site="mlp.act", output=tmp_path / "mlp.act", checkpoint_blocks=5, **OPTIONS
    )
    assert in_child(lambda: killed_at_call(collector, "run_backbone", 15, one)) == -signal.SIGKILL
    seen, bars = passes(monkeypatch), []

    def told(description: str, total: float, unit: str) -> Any:
        bars.append((progress._Lines(description, total, unit), total))
        return contextlib.nullcontext(bars[-1][0])

    monkeypatch.setattr(passing, "track", told)
    together(lm, tmp_path)
    assert contents(tmp_path) == alone
    assert bars
    assert all(bar.done == total for bar, total in bars)  # nothing counted twice
    again = sum(seen)
    seen.clear()
    collect(lm, TEXTS, **OPTIONS)
    assert again == sum(seen)  # those of the site that had seen none, and no more


def test_a_finished_site_takes_no_part(
    lm: LanguageModel, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    together(lm, tmp_path, SITES[:2])
    hooked: list[str] = []
    real = collector.hook_site

    def watched(lm: LanguageModel, site: str, *rest: object) -> object:
        hooked.append(site)
        return real(lm, site, *rest)

    monkeypatch.setattr(collector, "hook_site", watched)
    together(lm, tmp_path)
    assert set(hooked) == set(SITES[2:])
    assert contents(tmp_path) == alone


def test_a_batch_that_does_not_fit_is_halved_for_all(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {"xx": TEXTS["en"]}
    whole = collect_sites(lm, text, SITES[:2], **OPTIONS)
    real = collector.run_backbone

    def limited(lm: LanguageModel, ids: torch.Tensor, mask: torch.Tensor) -> None:
        real(lm, ids, mask)
        if len(ids) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(collector, "run_backbone", limited)
    found = collect_sites(lm, text, SITES[:2], **OPTIONS)
    for site, stats in whole.items():
        assert found[site].tokens == stats.tokens
        assert torch.equal(found[site].count_positive["xx"], stats.count_positive["xx"])
        torch.testing.assert_close(found[site].mean("xx"), stats.mean("xx"))


@pytest.mark.parametrize(
    ("sites", "outputs", "message"),
    [
        ([], {}, "sites must be a list of names, each once"),
        ("mlp.act", {}, "sites must be a list of names, each once"),
        (["mlp.act", "mlp.act"], {}, "sites must be a list of names, each once"),
        (["mlp.act"], {"mlp.pre": "a"}, "which is not among the sites"),
        (["mlp.act", "mlp.pre"], {"mlp.act": "a", "mlp.pre": "a"}, "sites need a folder each"),
        (["mlp.act", "mlp.acts"], {}, "unknown site"),
    ],
)
def test_bad_input_is_one_clear_line(
    lm: LanguageModel, tmp_path: Path, sites: list[str], outputs: dict[str, str], message: str
) -> None:
    folders = {site: tmp_path / name for site, name in outputs.items()}
    with pytest.raises(InputError, match=message):
        collect_sites(lm, TEXTS, sites, outputs=folders)
