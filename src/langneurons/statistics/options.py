"""What a collection is asked to do, with each protocol as a preset of the single options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
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
    """What a collection is asked to do; :func:`langneurons.collect` takes it, or its fields.

    Attributes:
        site: Site to read; None: the protocol's (``mlp.act``; ``paper``: ``mlp.pre``).
        tokens: Stop each language with the block in which so many tokens are counted.
        block: Positions in a block; None: the protocol's (256; ``paper``: 512).
        rows: Most token rows to keep for quantiles; 0 for none.
        seed: Seed of the sample of rows.
        batch_size: Blocks in a batch; None finds it by itself. Halved after an out-of-memory.
        protocol: ``"strict"``, or ``"paper"``: what the paper's released code does (mean over
            batches of per-batch quantiles of ``mlp.pre``, packed blocks of 512 tokens).
        quantiles: ``"sample"``: from ``rows`` sampled token rows; ``"exact"``: every token's row
            is kept, in the activations' own dtype; ``"batch-mean"``: the mean over batches of
            per-batch quantiles at the paper's seven probabilities, rows besides; None: the
            protocol's.
        pack: Fill blocks across document boundaries; None: the protocol's.
        bos: See :func:`langneurons.data.make_blocks`; None: the protocol's.
        generated: Take the documents as prompts, let the model write at most so many tokens after
            each, and count these alone; None: the documents themselves. ``tokens`` then stops with
            the batch of prompts in which it is reached.
        temperature: Of the generated tokens: 0 takes the most probable one; above, they are drawn
            with ``seed``.
    """

    site: str | None = None
    tokens: int | None = None
    block: int | None = None
    rows: int = DEFAULT_ROWS
    seed: int = 0
    batch_size: int | None = None
    protocol: str = "strict"
    quantiles: Quantiles | None = None
    pack: bool | None = None
    bos: bool | None = None
    generated: int | None = None
    temperature: float = 0.0

    @classmethod
    def of(cls, options: Options | None, given: Mapping[str, Any]) -> Options:
        """Options with some fields changed.

        Args:
            options: To begin with; None: the defaults.
            given: Names and values of fields.

        Raises:
            InputError: If there is no such field.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise unknown("option of a collection", name, known)
        return replace(options or cls(), **given)

    def resolved(self) -> Resolved:
        """The same with what the protocol says where nothing is given.

        Raises:
            InputError: If a name is unknown, or a value of a wrong type or out of range.
        """
        if self.protocol not in PROTOCOLS:
            raise unknown("protocol", self.protocol, PROTOCOLS)
        for name, least in (
            ("tokens", 1),
            ("block", 1),
            ("rows", 0),
            ("batch_size", 1),
            ("generated", 1),
        ):
            check_integer(name, getattr(self, name), least)
        check_integer("seed", self.seed)
        for name in ("pack", "bos"):
            if getattr(self, name) not in (None, True, False):
                raise InputError(f"{name} must be true or false, not {getattr(self, name)!r}.")
        if self.generated is not None and (self.block is not None or self.pack):
            raise InputError(
                "block and pack cut text, and generated text is not cut: leave them out."
            )
        _check_temperature(self.temperature)
        usual = PROTOCOLS[self.protocol]
        values: dict[str, Any] = {}
        for name in (field.name for field in fields(Resolved)):
            given = getattr(self, name)
            values[name] = usual.get(name) if given is None else _plain(given)
        if values["quantiles"] not in get_args(Quantiles):
            raise unknown("kind of quantiles", values["quantiles"], get_args(Quantiles))
        if values["quantiles"] == "batch-mean" and values["batch_size"] is None:
            values["batch_size"] = _PAPER_BATCH
        return Resolved(**values)


def _plain(value: Any) -> Any:
    """Integers as Python's own: those of numpy cannot be written as JSON."""
    return value if isinstance(value, bool) or not isinstance(value, Integral) else int(value)


def _check_temperature(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"temperature must be 0 or more, not {value!r}.")


def check_integer(name: str, value: object, least: int | None = None) -> None:
    """Raise :class:`InputError` unless a value is a whole number from ``least`` on, or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} must be a whole number, not {value!r}.")
    if least is not None and int(value) < least:
        raise InputError(f"{name} must be at least {least}, not {value}.")


@dataclass(frozen=True)
class Resolved:
    """Everything besides model and text that decides the result; fields as of :class:`Options`."""

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
        """The options that the result depends on by definition, whatever the blocks are."""
        values = asdict(self)
        for name in ("block", "pack", "bos"):  # of the blocks, which say themselves what they are
            del values[name]
        if self.quantiles != "batch-mean":
            del values["batch_size"]
        return values


def resolve(protocol: str, **given: Any) -> Resolved:
    """Options of a protocol, with everything given (not None) taking precedence.

    Raises:
        InputError: If a name is unknown or a number out of range.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    return Options.of(None, {"protocol": protocol, **asked}).resolved()
