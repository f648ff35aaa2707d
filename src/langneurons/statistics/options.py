"""What a collection is asked to do, with each protocol as a preset of the single options."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from langneurons.errors import InputError, unknown

Quantiles = Literal["sample", "exact", "batch-mean"]
DEFAULT_ROWS = 10240
"""Token rows: quantiles of long texts lie within 0.002 in probability on average."""

PAPER_PROBABILITIES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)

PROTOCOLS: dict[str, dict[str, Any]] = {
    "strict": {"site": "mlp.act", "quantiles": "sample", "block": 256, "pack": False, "bos": None},
    "paper": {
        "site": "mlp.pre",
        "quantiles": "batch-mean",
        "block": 512,
        "pack": True,
        "bos": False,
    },
}
"""Options that each protocol sets where the caller leaves them open."""

_PAPER_BATCH = 8


@dataclass(frozen=True)
class Options:
    """Everything besides model and text that decides the result of a collection.

    Attributes:
        site: Site to read.
        quantiles: ``"sample"``: from ``rows`` sampled token rows; ``"exact"``: every token's row
            is kept, in the activations' own dtype; ``"batch-mean"``: the mean over batches of
            per-batch quantiles at the paper's seven probabilities, rows besides.
        rows: Most token rows to keep; 0 for none.
        seed: Seed of the sample.
        block: Positions in a block.
        pack: Whether blocks cross document boundaries.
        bos: Whether the beginning-of-sequence token goes in front of each block.
        batch_size: Blocks in a batch; None: found by itself.
    """

    site: str
    quantiles: Quantiles
    rows: int
    seed: int
    block: int
    pack: bool
    bos: bool | None
    batch_size: int | None

    @property
    def limit(self) -> int | None:
        """Most token rows to keep, None for all."""
        return None if self.quantiles == "exact" else self.rows

    def identity(self) -> dict[str, Any]:
        """The options that the result depends on by definition, for its key."""
        values = asdict(self)
        if self.quantiles != "batch-mean":
            del values["batch_size"]
        return values


def resolve(protocol: str, **given: Any) -> Options:
    """Options of a protocol, with everything given (not None) taking precedence.

    Raises:
        InputError: If a name is unknown or a number out of range.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    values = {**PROTOCOLS[protocol], **{k: v for k, v in given.items() if v is not None}}
    values.setdefault("batch_size", None)
    if values["quantiles"] not in get_args(Quantiles):
        raise unknown("kind of quantiles", values["quantiles"], get_args(Quantiles))
    if values["quantiles"] == "batch-mean" and values["batch_size"] is None:
        values["batch_size"] = _PAPER_BATCH
    for name, least in (("rows", 0), ("block", 1), ("batch_size", 1)):
        if values[name] is not None and values[name] < least:
            raise InputError(f"{name} must be at least {least}, not {values[name]}.")
    return Options(**values)
