"""One grammar for what is written: the command line, studies and Python take the same words.

Reading the words needs no PyTorch; the values they mean are made with it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, get_args

from langneurons.errors import InputError
from langneurons.intervention.modes import Mode, Scope

if TYPE_CHECKING:
    from langneurons.intervention.values import Value
    from langneurons.statistics import Statistics

WORDS = {
    "zero": "0, the units off",
    "-1": "a number; any, also 0.5 or 1e-3",
    "x0.5": "the unit's own value times a number",
    "s0.5": "the unit's own value plus 0.5 times its absolute value (steering)",
    "mean": "the unit's mean in the language",
    "minimum": "its smallest value in the language",
    "maximum": "its largest value in the language",
    "P90": "its 90th percentile in the language; P0 to P100, also P2.5",
}
"""Every word for a value, by an example, and what it means."""

PARTS = {
    "mean@en": "the statistic of another language (`en`) than the one that is tested",
    "P10@mlp.pre": "the statistic of what goes into the activation function, written where the "
    "units live (`mlp.act` is its other side)",
    "P10@mlp.act@mlp.pre": "taken at the first site, written at the second",
    "mean@last": "written over some tokens only: `last`, `rest`, `text`, `padding`, `prompt` or "
    "`generated`",
    "P10@en@mlp.pre@mlp.act@rest": "all of them, in this order",
}
"""What may follow a word, by an example, and what it means."""

SITES = ("mlp.pre", "mlp.act")
"""Both sides of the activation function, between which a value may cross."""

SCOPES = tuple(scope for scope in get_args(Scope) if scope != "all")
"""Tokens that a value may be written over, where not over all."""

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_PERCENTILE = re.compile(r"P(\d{1,2}(?:\.\d+)?|100(?:\.0+)?)")
_MODES: dict[str, Mode] = {"x": "multiply", "s": "steer"}
_STATISTICS = ("mean", "minimum", "maximum")


class Written(NamedTuple):
    """What is written: a value, whose statistic it is, where it is taken and written, and when.

    Attributes:
        name: The word: ``zero``, ``-1``, ``x0.5``, ``s0.5``, ``mean``, ``P10``.
        language: Language of the statistic; None for the one that is tested.
        taken: Site of the statistic; None for where the units live.
        written: Site it is written to; None for where the units live.
        scope: Tokens, as :class:`~langneurons.intervention.Intervention` takes them.
    """

    name: str
    language: str | None = None
    taken: str | None = None
    written: str | None = None
    scope: Scope = "all"

    @property
    def mode(self) -> Mode:
        """``multiply`` for ``x0.5``, ``steer`` for ``s0.5``, else ``set``."""
        return _MODES.get(self.name[0], "set")

    @property
    def is_statistic(self) -> bool:
        """Whether it is read from statistics."""
        return self.name in _STATISTICS or self.name.startswith("P")

    def value(self, statistics: Statistics | None = None, language: str | None = None) -> Value:
        """The value itself.

        Args:
            statistics: Where a statistic is read from: of the site ``taken``, or where the units
                live.
            language: Whose statistic it is, unless the words say so themselves.

        Raises:
            InputError: If it is a statistic and the statistics or the language are missing.
        """
        from langneurons.intervention.values import Value

        if not self.is_statistic:
            return Value.constant(0.0 if self.name == "zero" else float(self.name.lstrip("xs")))
        if statistics is None:
            raise InputError(
                f"the value {self.name} comes from statistics: give them, on the command line: "
                "add --statistics DIR."
            )
        whose = self.language or language
        if whose is None:
            raise InputError(
                f"the value {self.name} is a language's: name it, such as {self.name}@en."
            )
        if self.name.startswith("P"):
            return Value.quantile(statistics, whose, float(self.name[1:]) / 100)
        made: Value = getattr(Value, self.name)(statistics, whose)
        return made

    def placed(
        self, statistics: Statistics | None, language: str | None, site: str | None
    ) -> Value:
        """The value, allowed at the site where the words say that it is written.

        Args:
            statistics: As for :meth:`value`.
            language: As for :meth:`value`.
            site: Where the units live.

        Raises:
            InputError: If the words take it at another site than the statistics are of.
        """
        value = self.value(statistics, language)
        if self.taken is None:
            return value
        if value.site != self.taken:
            raise InputError(
                f"the value {self.name} is taken at {self.taken!r}, the statistics are of "
                f"{value.site!r}: collect statistics of that site."
            )
        return replace(value, site=self.written or site or value.site)


def parse(words: str) -> Written:
    """The parts of ``VALUE[@LANGUAGE][@TAKEN[@WRITTEN]][@SCOPE]``, see :data:`WORDS`.

    ``P10@mlp.pre`` is taken before the activation function and written where the units live,
    ``P10@mlp.pre@mlp.pre`` is written before it too; ``mean@en`` is the mean of English, and
    ``mean@last`` is written over the last token alone.

    Raises:
        InputError: If they are none.
    """
    name, *parts = words.strip().split("@")
    known = name == "zero" or name in _STATISTICS or _PERCENTILE.fullmatch(name)
    if not known and not re.fullmatch(f"[xs]?{_NUMBER}", name):
        raise InputError(
            f"value {name!r} is none of zero, mean, minimum, maximum, P0 to P100, a number, or "
            "x and a factor (x0.5 halves), or s and a strength (s0.5 adds half of its size)."
        )
    scope: Scope = parts.pop() if parts and parts[-1] in SCOPES else "all"  # type: ignore[assignment]
    sites = [parts.pop() for _ in range(2) if parts and parts[-1] in SITES][::-1]
    language = parts.pop() if len(parts) == 1 else None
    taken, written = [*sites, None, None][:2]
    if parts or language in ("", *SITES, *SCOPES):
        raise InputError(
            f"value {words!r}: write VALUE@LANGUAGE@TAKEN@WRITTEN@SCOPE or any of it, in this "
            f"order: sites {' or '.join(SITES)}, scope {', '.join(SCOPES)}."
        )
    made = Written(name, language, taken, written, scope)
    if (taken or language) and not made.is_statistic:
        raise InputError(
            f"value {words!r}: only a statistic has a site or a language, use mean or P90; "
            "any value may end in a scope, such as @last."
        )
    return made
