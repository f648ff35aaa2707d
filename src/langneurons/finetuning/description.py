"""What a training is: frozen values, from which its key and its record on disk are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langneurons.artifacts import digest
from langneurons.data.tasks import pad_id

if TYPE_CHECKING:
    from langneurons.finetuning.examples import Item
    from langneurons.finetuning.training import TrainingLog

_VERSION = 2
"""Raised whenever the same inputs would give another adapter."""


@dataclass(frozen=True)
class Purpose:
    """What an adapted model is for, and where its head reads.

    Attributes:
        kind: ``"classification"``, ``"qa"`` or ``"text"``.
        labels: Names of the classes, in the order of their ids.
        pad: Padding id; None where it is not known and the tokenizer's is taken.
        head: ``"last-token"`` or ``"last-position"`` for classification, else None.
        max_length: Longest text in tokens; a head on the last position reads there.
    """

    kind: str
    labels: tuple[str, ...] = ()
    pad: int | None = None
    head: str | None = None
    max_length: int | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Purpose:
        """Of an adapter's ``langneurons.json``."""
        names = [item.name for item in dataclasses.fields(cls)]
        found = {name: record[name] for name in names if name in record}
        return cls(**{**found, "labels": tuple(found.get("labels", ()))})

    @property
    def classifies(self) -> bool:
        """Whether the model has a classification head."""
        return self.kind == "classification"

    @property
    def reading_length(self) -> int | None:
        """Length every text is padded to for a head on the last position; None for others."""
        return self.max_length if self.classifies and self.head == "last-position" else None

    def padding(self, tokenizer: Any) -> int:
        """The id to pad with."""
        return pad_id(tokenizer) if self.pad is None else int(self.pad)


@dataclass(frozen=True)
class Description:
    """A training: everything that decides its result but the examples themselves.

    Attributes:
        purpose: What the adapter is for.
        task: The task as JSON values.
        lang: Language trained on.
        units: The choice of units as JSON values.
        recipe: The recipe as JSON values.
        model: Fingerprint of the model.
        examples: Number of training examples.
        dtype: What is computed in.
        intervention: What is held meanwhile, as JSON values.
    """

    purpose: Purpose
    task: Mapping[str, Any]
    lang: str
    units: Mapping[str, Any]
    recipe: Mapping[str, Any]
    model: Mapping[str, Any]
    examples: int
    dtype: str
    intervention: Sequence[Mapping[str, Any]]

    def settings(self) -> dict[str, Any]:
        """All but recipe and model, as one flat mapping of JSON values."""
        flat = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("purpose", "recipe", "model")
        }
        purpose = {**dataclasses.asdict(self.purpose), "labels": list(self.purpose.labels)}
        return {"version": _VERSION, **purpose, **flat}

    def key(self, items: Sequence[Item]) -> str:
        """Digest of everything that decides the result.

        Args:
            items: Training examples, then those looked at on the way.
        """
        # How often a checkpoint is written changes nothing.
        steps = {key: value for key, value in self.recipe.items() if key != "checkpoint_every"}
        shown = [[item.ids, item.label] for item in items]
        return digest(self.settings(), steps, self.model["sha256"], shown)

    def record(self, key: str, trainable: int, log: TrainingLog) -> dict[str, Any]:
        """The adapter's ``langneurons.json``, without checksums."""
        return {
            **self.settings(),
            "recipe": self.recipe,
            "model": self.model,
            "key": key,
            "trainable": trainable,
            "losses": [{"step": n, "loss": loss} for n, loss in enumerate(log.losses, start=1)],
            "evaluations": log.evaluations,
            "steps": log.step,
            "best": log.best,
            "seconds": round(log.seconds, 3),
        }
