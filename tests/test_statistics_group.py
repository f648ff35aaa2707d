"""Two processes over gloo give the statistics of one."""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import tiny
from langneurons.models import LanguageModel
from langneurons.statistics import Statistics, collect

TEXTS = {
    "en": [f"Nr {n}: " + "the cat and the dog " * (n % 5 + 1) for n in range(20)],
    "hi": ["एक बिल्ली और कुत्ता "],  # one block: the second process has nothing to do
}
FORK = multiprocessing.get_context("fork")


def worker(
    rank: int, meeting: Path, lm: LanguageModel, output: Path | None, result: Path, options: dict
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    stats = collect(lm, TEXTS, block=24, rows=60, output=output, **options)
    stats.save(result / str(rank))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    found = tiny.lm("llama")
    found.model.double()
    return found


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("quantiles", ["sample", "exact"])
def test_two_processes_give_the_statistics_of_one(
    lm: LanguageModel, tmp_path: Path, on_disk: bool, quantiles: str
) -> None:
    one = collect(lm, TEXTS, block=24, rows=60, quantiles=quantiles)
    # Of the same batches: a product's last bit depends on their size on some processors.
    options = {"quantiles": quantiles, "batch_size": 1}
    same = collect(lm, TEXTS, block=24, rows=60, **options)
    output = tmp_path / "shared" if on_disk else None
    processes = [
        FORK.Process(target=worker, args=(r, tmp_path / "m", lm, output, tmp_path, options))
        for r in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    results = [Statistics.load(tmp_path / str(rank)) for rank in range(2)]
    assert results[0].fingerprint == results[1].fingerprint
    two = results[0]
    assert two.tokens == one.tokens
    for lang in TEXTS:
        assert torch.equal(two.count_positive[lang], one.count_positive[lang])
        assert torch.equal(two.minimum(lang), same.minimum(lang))
        assert torch.equal(two.keys(lang), one.keys(lang))
        torch.testing.assert_close(two.mean(lang), one.mean(lang))
        torch.testing.assert_close(two.std(lang), one.std(lang))
        for layer in range(lm.layers):
            torch.testing.assert_close(two.rows(lang, layer), one.rows(lang, layer))
    if output is not None:
        assert not list(output.glob(".*"))
