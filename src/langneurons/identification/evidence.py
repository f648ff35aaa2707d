"""Reading statistics for identification: activity, and equally large samples of token rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from langneurons.errors import InputError

if TYPE_CHECKING:
    from langneurons.statistics import Statistics


def activity(statistics: Statistics) -> Tensor:
    """Activation probability of every language and unit, float64 (K, L, U).

    Published counts sometimes exceed their own number of tokens (``Statistics.from_counts`` warns
    of it); such a probability above 1 is used as it is. A unit whose probability is not known in
    some language (of routed tokens, where too few were) is 0 in all: it cannot be compared.

    Raises:
        InputError: If a language has no tokens.
    """
    stacked = torch.empty((len(statistics.languages), *statistics.shape), dtype=torch.float64)
    for k, language in enumerate(statistics.languages):
        tokens = statistics.tokens[language]
        if tokens <= 0:
            raise InputError(f"language {language!r} has no token: collect some, or leave it out.")
        stacked[k] = statistics.prob_positive(language)
    unknown = stacked.isnan().any(0)
    if bool(unknown.any()):
        warnings.warn(
            f"{int(unknown.sum())} of {unknown.numel()} units are left out: too few tokens of some "
            "language were routed to their expert.",
            stacklevel=2,
        )
        stacked[:, unknown] = 0
    return stacked


def finite_scores(scores: Tensor, language: str, method: str) -> Tensor:
    """Scores with NaN replaced by -inf (never selected), with a warning that says how many."""
    bad = torch.isnan(scores)
    number = int(bad.sum())
    if number:
        warnings.warn(
            f"method {method!r}, language {language!r}: {number} units have no defined score "
            "(NaN in their statistics) and are left out.",
            stacklevel=2,
        )
        return torch.where(bad, torch.full_like(scores, -torch.inf), scores)
    return scores


class BalancedRows:
    """Token rows of several languages, the same number of each, layer by layer.

    Statistics keep for each language the rows with the smallest hash keys, so the first n of them
    in key order are again a uniform sample: languages with more rows are cut to the smallest
    one's number and every language weighs the same.

    Args:
        statistics: Statistics with a row sample.

    Raises:
        InputError: If there are no rows.
    """

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self.languages = statistics.languages
        order = {
            language: torch.argsort(statistics.keys(language), stable=True)
            for language in self.languages
        }
        self.size = min(len(item) for item in order.values())
        if self.size == 0:
            short = [language for language, item in order.items() if len(item) == 0]
            raise InputError(
                f"no token rows for language {', '.join(short)}: collect with rows, or use a "
                "method that reads counts only (lape, entropy_lambda)."
            )
        self._order: Mapping[str, Tensor] = {
            language: item[: self.size] for language, item in order.items()
        }

    def layer(self, language: str, layer: int) -> Tensor:
        """Rows (n, U) of one language and layer, in key order, in the dtype they are stored in."""
        rows = self._statistics.rows(language, layer)
        kept = self._order[language]
        # They are stored in this order, so that a slice does; picking each row would copy them all.
        return rows[: self.size] if torch.equal(kept, torch.arange(self.size)) else rows[kept]

    def by_document(self, language: str, layer: int) -> Tensor:
        """The same rows, those of one document together and in the order of its text."""
        return self._statistics.rows(language, layer)[self._text_order(language)]

    def halves(self, language: str) -> npt.NDArray[np.int64]:
        """0 or 1 for each row of :meth:`by_document`: which half its document is in.

        Documents are dealt alternately in the order of their (hashed) keys, so that the halves
        are about equally large, differ in no other way and never share a document.
        """
        documents = self._statistics.row_documents(language)[self._text_order(language)]
        rank = torch.unique(documents, return_inverse=True)[1]
        return np.asarray((rank % 2).numpy())

    def documents(self, language: str) -> npt.NDArray[np.int64]:
        """Document key of each row of :meth:`by_document`."""
        found = self._statistics.row_documents(language)[self._text_order(language)]
        return np.asarray(found.numpy(), dtype=np.int64)

    def _text_order(self, language: str) -> Tensor:
        kept = self._order[language]
        documents = self._statistics.row_documents(language)[kept].numpy()
        positions = self._statistics.row_positions(language)[kept].numpy()
        return kept[torch.from_numpy(np.lexsort((positions, documents)))]
