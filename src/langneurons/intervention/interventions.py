"""One intervention: which units, what is written, how, and at which tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from langneurons.artifacts import digest
from langneurons.errors import InputError, unknown
from langneurons.identification import Units
from langneurons.intervention.modes import Mode as Mode
from langneurons.intervention.modes import Scope as Scope
from langneurons.intervention.modes import check_rows
from langneurons.intervention.steering import Steering
from langneurons.intervention.values import Value
from langneurons.intervention.words import parse
from langneurons.models.fingerprint import same_model

if TYPE_CHECKING:
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

Protocol = Literal["strict", "paper"]


@dataclass(frozen=True, eq=False)
class Intervention:
    """What is written over which units, how, and at which tokens.

    Attributes:
        units: The units.
        value: A :class:`Value` or a number.
        mode: ``set`` overwrites, ``add`` adds the value, ``multiply`` multiplies by it (0 switches
            off, 2 amplifies), ``steer`` adds the value times the unit's absolute value. A clipped
            value and another unit's value can only be set. At ``moe.router`` all act on the
            router's logits before its own choice, and only 0 can be set: the expert is never
            chosen; with ``force`` it always is, with the weight that the router gives it. At
            ``moe.act`` and its like they act where a unit's expert runs.
        site: Where the units live; by default where they were found (``protocol="paper"``: those of
            ``mlp.pre`` are written at ``mlp.act``), ``mlp.act`` where they do not know.
        scope: ``all`` tokens; ``prompt``: those of the prompt; ``generated``: those that
            ``generate`` added (in steps by hand: run one at a time against a key-value cache);
            ``last``: the last real token of every forward pass (of the prompt, then every
            generated one); ``rest``: all tokens but that one; ``text``: all real tokens;
            ``padding``: all others, one of which a head on the last position reads. Real is what
            the attention mask (batch, sequence) says; without one, every token is.
        start: Only real tokens from this position on, counted from a sequence's first real one.
        layers: Only units of these layers; None for all.
        probability: Each token is touched with this probability, the same token in all layers.
            Decided by a hash of seed, token id and position: repeatable, whatever the batch.
        seed: Seed of that hash.
        rows: Only these rows of a batch, counted from 0; None for all. So several changes of the
            same text run side by side in one pass.
        protocol: ``strict`` refuses statistics of another site; ``paper`` writes those of
            ``mlp.pre`` to ``mlp.act``, as the released code of the paper does.
        name: Label for tables; by default built from value, mode and scope.

    Raises:
        InputError: If an option is unknown or two do not go together.
    """

    units: Units
    value: Value | float = 0.0
    mode: Mode = "set"
    site: str = ""
    scope: Scope = "all"
    start: int = 0
    layers: tuple[int, ...] | None = None
    probability: float = 1.0
    seed: int = 0
    rows: tuple[int, ...] | None = None
    protocol: Protocol = "strict"
    name: str = ""
    what: Value = field(init=False, repr=False)
    """The value, a number turned into a :class:`Value`."""

    def __post_init__(self) -> None:
        if not isinstance(self.units, Units):
            raise InputError(
                f"an intervention needs Units (as neurons['hi']), not {type(self.units).__name__}."
            )
        for kind, value, allowed in (
            ("mode", self.mode, Mode),
            ("scope", self.scope, Scope),
            ("protocol", self.protocol, Protocol),
        ):
            if value not in get_args(allowed):
                raise unknown(kind, value, get_args(allowed))
        if not self.site:
            crosses = self.protocol == "paper" and self.units.site == "mlp.pre"
            found = "mlp.act" if crosses else self.units.site
            object.__setattr__(self, "site", found or "mlp.act")
        what = self.value if isinstance(self.value, Value) else Value.constant(self.value)
        object.__setattr__(self, "what", what)
        if what.kind != "tensor" and self.mode != "set":
            raise InputError(f"the value {what.name!r} can only be set, not {self.mode!r}.")
        off = what.kind == "tensor" and what.tensor is not None and bool((what.tensor == 0).all())
        if self.site == "moe.router" and self.mode == "set" and not off:
            raise InputError(
                f"an expert cannot be set to {what.name!r}: set 0 (it is never chosen), or change "
                "its logit by mode 'add', 'multiply' or 'steer', or choose it by 'force'."
            )
        if self.mode == "force" and (self.site != "moe.router" or what.name != "zero"):
            raise InputError(
                "mode 'force' is of experts, which are then always chosen, and takes no value: use "
                "it with units of 'moe.router' and without one."
            )
        if self.start < 0:
            raise InputError(f"start counts positions from 0, not {self.start}.")
        if not 0 <= self.probability <= 1:
            raise InputError(f"probability must lie within 0 to 1, not {self.probability}.")
        check_rows(self.rows)
        if what.site not in (None, self.site):
            crossed = (what.site, self.site) == ("mlp.pre", "mlp.act")
            if not (crossed and self.protocol == "paper"):
                raise InputError(
                    f"the value {what.name!r} is a statistic of {what.site!r}, the units are of "
                    f"{self.site!r}: collect statistics of that site"
                    + (", or choose protocol='paper'." if crossed else ".")
                )
        if not self.name:
            object.__setattr__(self, "name", _name(self, what))

    @classmethod
    def of(
        cls,
        units: Units,
        words: str,
        statistics: Statistics | None = None,
        language: str | None = None,
        **options: Any,
    ) -> Intervention:
        """An intervention by the words that studies and the command line take.

        Args:
            units: The units.
            words: ``zero``, ``-1``, ``x0.5``, ``mean``, ``P90``, ``mean@en``, ``P10@mlp.pre``,
                ``mean@last``, ...; see :func:`langneurons.intervention.words.parse`.
            statistics: Where a statistic is read from.
            language: Whose statistic it is, unless the words say so.
            **options: Further fields.

        Raises:
            InputError: If the words are none, or need statistics that are missing or of another
                site.

        Example:
            >>> Intervention.of(Units([0], [3]), "x0.5@last").name
            'x0.5@last'
        """
        what = parse(words)
        site = options.pop("site", None) or units.site or "mlp.act"
        value = what.placed(statistics, language, site)
        options["site"] = what.written or site
        given = {"mode": what.mode, "scope": what.scope, "name": words, **options}
        return cls(units, value, **given)

    @property
    def chosen(self) -> Units:
        """The units within the chosen layers."""
        return self.units if self.layers is None else self.units.in_layers(self.layers)

    def check(self, lm: LanguageModel) -> None:
        """Raise :class:`InputError` if units or value are of another model, or units of a site."""
        self.units.check_origin(lm, self.site)
        if self.what.model and not same_model(self.what.model, lm.fingerprint):
            raise InputError(
                f"the value {self.what.name!r} is a statistic of model "
                f"{self.what.model.get('name', 'another')!r}, whose weights differ from those of "
                f"{lm.name!r}: collect statistics of this model."
            )

    @property
    def touched(self) -> tuple[int, ...]:
        """Layers that are read or written, ascending."""
        units = self.chosen
        if not len(units):
            return ()
        source = () if self.what.source is None else (self.what.source[0],)
        return tuple(sorted({*units.layers.unique().tolist(), *source}))

    @property
    def every_token(self) -> bool:
        """Whether every token is touched."""
        everywhere = self.scope == "all" and self.start == 0 and self.rows is None
        return everywhere and self.probability == 1

    def identity(self) -> dict[str, Any]:
        """JSON-able content, for keys of artifacts: equal exactly when the effect is."""
        units = self.chosen
        return {
            "units": digest(units.layers, units.indices),
            "value": self.what.identity(),
            "mode": self.mode,
            "site": self.site,
            "scope": self.scope,
            "start": self.start,
            "probability": self.probability,
            "seed": self.seed if self.probability < 1 else None,
            **({} if self.rows is None else {"rows": sorted(set(self.rows))}),
        }


def _name(intervention: Intervention, what: Value) -> str:
    told = what.name if intervention.mode == "set" else f"{intervention.mode} {what.name}"
    words = ["force" if intervention.mode == "force" else told]
    if intervention.scope != "all":
        words.append(intervention.scope)
    if intervention.start:
        words.append(f"from {intervention.start}")
    if intervention.probability < 1:
        words.append(f"p={intervention.probability:g}")
    if intervention.rows is not None:
        words.append(f"rows {','.join(map(str, intervention.rows))}")
    return " ".join(words)


Change = Intervention | Steering
"""What can be done to a running model: to single units, or along a direction."""


def as_interventions(
    what: Units | Change | Sequence[Change] | None, **options: Any
) -> list[Change]:
    """What a user may pass for interventions, as a list.

    Args:
        what: Units (then ``options`` make the intervention), one or several interventions (then no
            option is allowed), or None for none.
        **options: Fields of :class:`Intervention`.

    Raises:
        InputError: If it is none of these.
    """
    if what is None:
        return []
    if isinstance(what, Units):
        return [Intervention(what, **options)]
    given = [what] if isinstance(what, Change) else what
    if not isinstance(given, Sequence) or not all(isinstance(item, Change) for item in given):
        raise InputError(
            "give Units (as neurons['hi']), an Intervention, a Steering or a list of them, not "
            f"{type(what).__name__}."
        )
    if options:
        raise InputError(
            f"an Intervention is given: set {', '.join(sorted(options))} on it, not beside it."
        )
    return list(given)
