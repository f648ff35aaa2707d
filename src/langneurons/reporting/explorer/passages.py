"""From a sampled token row to the passage around its token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from langneurons.data.blocks import document_key

if TYPE_CHECKING:
    from langneurons.statistics import Statistics

_AT_ONCE = 256  # documents tokenised together


class Passages:
    """Finds the text around sampled tokens.

    Args:
        statistics: Statistics with token rows, whose documents are in ``texts``.
        texts: Language to documents.
        tokenizer: The tokenizer the statistics were collected with.
        before: Tokens shown before the marked one.
        after: Tokens shown behind it.
    """

    def __init__(
        self,
        statistics: Statistics,
        texts: Mapping[str, Sequence[str]],
        tokenizer: Any,
        before: int,
        after: int,
    ) -> None:
        self._tokenizer, self._before, self._after = tokenizer, before, after
        self._documents = {
            lang: statistics.row_documents(lang).tolist() for lang in statistics.languages
        }
        self._positions = {
            lang: statistics.row_positions(lang).tolist() for lang in statistics.languages
        }
        self._texts = {
            lang: {document_key(text): text for text in texts.get(lang, ())}
            for lang in statistics.languages
        }

    def document(self, language: str, row: int) -> int:
        """Content key of the document a row comes from."""
        return int(self._documents[language][row])

    def known(self, language: str, row: int) -> bool:
        """Whether the document of a row is among the texts."""
        return self.document(language, row) in self._texts[language]

    def text(self, language: str, key: int) -> str:
        """The document of a content key."""
        return self._texts[language][key]

    def fill(self, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Replace ``row`` by the text ``before`` the token, the ``token``, and ``after`` it.

        Args:
            found: Mappings with ``language`` and ``row``.

        Returns:
            The mappings, also with ``key`` (of the document), its tokens ``first`` to ``last`` (not
            included) that are shown, and ``lengths``: the signs of each of them in the text shown
            without the signs of omission; none where the tokenizer does not tell.
        """
        wanted: dict[str, set[int]] = {}
        for item in found:
            language = str(item["language"])
            wanted.setdefault(language, set()).add(self.document(language, int(item["row"])))
        spans = {
            (language, key): made
            for language, keys in wanted.items()
            for key, made in self._tokenise(language, sorted(keys))
        }
        return [self._cut(dict(item), spans) for item in found]

    def _tokenise(self, language: str, keys: list[int]) -> list[tuple[int, Any]]:
        """Character spans of each document's tokens; token ids where the tokenizer has none."""
        fast = bool(self._tokenizer.is_fast)
        made: list[tuple[int, Any]] = []
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            encoded = self._tokenizer(
                [self._texts[language][key] for key in part],
                add_special_tokens=False,
                return_attention_mask=False,
                return_offsets_mapping=fast,
                verbose=False,
            )
            made += zip(part, encoded["offset_mapping" if fast else "input_ids"], strict=True)
        return made

    def _cut(self, item: dict[str, Any], spans: Mapping[tuple[str, int], Any]) -> dict[str, Any]:
        language, row = str(item["language"]), int(item.pop("row"))
        key, at = self.document(language, row), int(self._positions[language][row])
        tokens = spans[language, key]
        first, last = max(0, at - self._before), min(len(tokens), at + self._after + 1)
        lengths: list[int] = []
        if self._tokenizer.is_fast:
            ends = [int(tokens[first][0]), *(int(tokens[one][1]) for one in range(first, last))]
            lengths = [max(0, stop - start) for start, stop in pairwise(ends)]
            text = self._texts[language][key]
            start, stop = (int(end) for end in tokens[at])
            parts = (
                text[int(tokens[first][0]) : start],
                text[start:stop],
                text[stop : int(tokens[last - 1][1])],
            )
        else:
            parts = (
                self._tokenizer.decode(tokens[first:at]),
                self._tokenizer.decode(tokens[at : at + 1]),
                self._tokenizer.decode(tokens[at + 1 : last]),
            )
        left, token, right = parts
        return {
            **item,
            "before": ("…" if first else "") + left,
            "token": token,
            "after": right + ("…" if last < len(tokens) else ""),
            "key": key,
            "first": first,
            "last": last,
            "lengths": lengths,
        }
