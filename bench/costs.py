"""Peak memory and time of the parts of data, statistics and identification that used to cost most.

Each case runs in a process of its own on one thread; memory is the peak of the process beyond what
it took before the case began (Linux). To compare with an older version, point ``PYTHONPATH`` at its
source: the cases use nothing newer than both have.

Usage: python -m bench.costs [CASE ...]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = 1


def _words(seed: int, count: int) -> str:
    import numpy as np

    generator = np.random.default_rng(seed)
    letters = np.array(list("abcdefghij"))
    return " ".join("".join(row) for row in letters[generator.integers(0, 10, (count, 4))])


def _tokenizer() -> Any:
    """A byte-level tokenizer with <pad>, <s>, </s>: every character a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: n for n, word in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    core = Tokenizer(models.BPE(vocab=words, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def _model(
    vocabulary: int = 512, layers: int = 2, hidden: int = 64, units: int = 256, half: bool = False
) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from langneurons.models import wrap

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=units,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    dtype = torch.bfloat16 if half else torch.float32
    return wrap(AutoModelForCausalLM.from_config(config, dtype=dtype), _tokenizer(), "bench")


def _select() -> Callable[[], object]:
    """Choosing 10,240 of 5,000,000 tokens."""
    import torch

    from langneurons.data import Blocks
    from langneurons.statistics.sample import select

    n, width = 20_000, 250
    generator = torch.Generator().manual_seed(0)
    keys = torch.randint(-(1 << 62), 1 << 62, (n,), generator=generator)
    blocks = Blocks(
        input_ids=torch.zeros((n, width), dtype=torch.int64),
        attention_mask=torch.ones((n, width), dtype=torch.bool),
        counted=torch.ones((n, width), dtype=torch.bool),
        document=torch.arange(n),
        position=torch.arange(width).repeat(n, 1),
        document_keys=keys,
    )
    return lambda: select(blocks, 10_240, 0)


def _languages() -> Callable[[], object]:
    """Collecting eight languages of 600,000 tokens with a tiny model."""
    from langneurons.statistics import collect

    lm = _model(layers=1, hidden=8, units=8)
    texts = {f"l{k}": [_words(100 * k + n, 2400) for n in range(50)] for k in range(8)}
    return lambda: collect(lm, texts, rows=0)


def _bootstrap() -> Callable[[], object]:
    """10 replicates of LAPE over statistics on disk: 3 languages, 4 layers x 4096, 4096 rows."""
    from langneurons.identification import bootstrap
    from langneurons.statistics import Statistics, collect

    lm = _model(layers=4, units=4096)
    folder = Path(tempfile.mkdtemp())
    texts = {f"l{k}": [_words(100 * k + n, 240) for n in range(6)] for k in range(3)}
    collect(lm, texts, rows=4096, output=folder)
    statistics = Statistics.load(folder)
    return lambda: bootstrap(statistics, "lape", replicates=10, filter=0.5, bar=0.5)


def _gradient() -> Callable[[], object]:
    """Gradient attribution with a vocabulary of 131,072, 1024 tokens in a batch."""
    from langneurons.identification import identify

    lm = _model(vocabulary=131_072)
    texts = {f"l{k}": [_words(100 * k + n, 50) for n in range(8)] for k in range(2)}
    return lambda: identify(method="gradient", model=lm, texts=texts, top=10)


def _relevance() -> Callable[[], object]:
    """Relevance of 30,000 tokens in each of two languages, with its check."""
    from langneurons.identification import identify

    lm = _model(layers=4)
    texts = {f"l{k}": [_words(100 * k + n, 240) for n in range(25)] for k in range(2)}
    return lambda: identify(method="relevance", model=lm, texts=texts, top=10)


def _transfer() -> Callable[[], object]:
    """Transfer on 32 sentences with a down projection of 1024 x 16,384 in bfloat16."""
    from langneurons.identification import identify

    lm = _model(layers=1, hidden=1024, units=16_384, half=True)
    texts = {f"l{k}": [_words(100 * k + n, 2) for n in range(16)] for k in range(2)}
    return lambda: identify(method="transfer", model=lm, texts=texts, top=10, batch_tokens=256)


def _document() -> Callable[[], object]:
    """Blocks of 5,000 tokens from one document of 20 MB on one line, tokeniser of `mini`."""
    import langneurons as ln
    from langneurons.data import make_blocks

    tokenizer = ln.load("mini").tokenizer
    text = _words(0, 4_000_000)
    return lambda: make_blocks([text], tokenizer, block=256, tokens=5000)


CASES: dict[str, Callable[[], Callable[[], object]]] = {
    "select": _select,
    "document": _document,
    "languages": _languages,
    "bootstrap": _bootstrap,
    "gradient": _gradient,
    "relevance": _relevance,
    "transfer": _transfer,
}


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> int:
    """Peak resident memory since the last reset, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def _now() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def measure(case: str) -> None:
    """Run one case and print its peak memory and processor time."""
    import torch

    from langneurons.progress import set_quiet

    set_quiet(True)
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    work = CASES[case]()
    before = _now()
    _reset_peak()
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    about = str(CASES[case].__doc__).partition("\n")[0]
    print(
        f"{case}: peak {(_peak() - before) / 1e6:,.0f} MB beyond the start, {cpu:.1f} s of "
        f"processor time ({wall:.1f} s). {about}",
        flush=True,
    )


def main() -> None:
    """Run the cases named, or all."""
    chosen = sys.argv[1:] or list(CASES)
    if len(chosen) == 1:
        measure(chosen[0])
        return
    for case in chosen:
        subprocess.run([sys.executable, "-m", "bench.costs", case], check=True, env=os.environ)


if __name__ == "__main__":
    main()
