"""How much of the language a linear classifier still finds in activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.evaluation.intervals import ratio_interval


@dataclass(frozen=True, eq=False)
class Labelled:
    """Activations with their language and document.

    Attributes:
        x: float32 (n, width).
        language: int64 (n,).
        document: int64 (n,), key of the document each token is of.
    """

    x: Tensor
    language: NDArray[np.int64]
    document: NDArray[np.int64]


def labelled(rows: Mapping[str, Tensor], documents: Mapping[str, NDArray[np.int64]]) -> Labelled:
    """Put languages together, in their order."""
    owner = np.concatenate([np.full(len(item), place) for place, item in enumerate(rows.values())])
    return Labelled(
        torch.cat([item.float() for item in rows.values()]),
        owner.astype(np.int64),
        np.concatenate([documents[name] for name in rows]).astype(np.int64),
    )


class Probe:
    """Multinomial logistic regression on standardised activations.

    Args:
        train: Activations it learns from.
        seed: Not used by the solver; kept with the results.
    """

    def __init__(self, train: Labelled) -> None:
        from sklearn.linear_model import LogisticRegression

        x = train.x.double().numpy()
        self._mean = x.mean(axis=0)
        spread = x.std(axis=0)
        # What varies by rounding alone, such as an erased coordinate, must not be blown up.
        floor = 1e-4 * max(float(np.sqrt((spread**2).mean())), 1e-12)
        self._scale = np.maximum(spread, floor)
        self._model = LogisticRegression(C=0.1, max_iter=200)
        self._model.fit(self._scaled(train.x), train.language)

    def _scaled(self, x: Tensor) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = (x.double().numpy() - self._mean) / self._scale
        return scaled

    def predict(self, x: Tensor) -> NDArray[np.int64]:
        """Number of the language found in each row (n, width)."""
        found: NDArray[np.int64] = self._model.predict(self._scaled(x)).astype(np.int64)
        return found


def share(
    hits: NDArray[np.bool_] | Sequence[bool], documents: NDArray[np.int64], level: float = 0.95
) -> dict[str, float]:
    """Share of tokens, interval by resampling documents."""
    right = np.asarray(hits, dtype=np.float64)
    low, high = ratio_interval(right, np.ones(len(right)), clusters=documents.tolist(), level=level)
    return {"value": float(right.mean()), "low": low, "high": high}
