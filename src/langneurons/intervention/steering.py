"""Steering along a direction while the model runs, by the same tokens and layers as units."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from langneurons.errors import InputError, unknown
from langneurons.identification.directions import Direction
from langneurons.intervention.modes import Scope, check_rows

if TYPE_CHECKING:
    from langneurons.models import LanguageModel

How = Literal["add", "keep_norm", "ablate", "project"]


@dataclass(frozen=True, eq=False)
class Steering:
    """What is done along a language's direction, how strongly, and at which tokens.

    With x an activation, v the layer's direction, u = v / |v|, c the mean over languages, g the
    direction's gain and a the strength:

    ========= =================================== ===========================================
    how       x becomes                           source
    ========= =================================== ===========================================
    add       x + a v                             difference of means, arXiv 2601.08331 (there
                                                  of length 1: ``direction.unit()``)
    keep_norm y |x| / |y| with y = x + a v        language vectors, hSterz/recover
    ablate    x - a g ((x - c) . u) u             mean-ablation
    project   x - a g (x . u) u                   projecting out
    ========= =================================== ===========================================

    Attributes:
        direction: One language's direction (``directions["hi"]``).
        how: See the table.
        strength: a.
        layers: Layers it acts in; None for all that have a direction.
        scope: As of :class:`~langneurons.intervention.Intervention`.
        start: Likewise.
        probability: Likewise.
        seed: Likewise.
        rows: Likewise.
        name: Label for tables; by default built from the above.

    Raises:
        InputError: If an option is unknown or out of range.
    """

    direction: Direction
    how: How = "add"
    strength: float = 1.0
    layers: tuple[int, ...] | None = None
    scope: Scope = "all"
    start: int = 0
    probability: float = 1.0
    seed: int = 0
    rows: tuple[int, ...] | None = None
    name: str = ""
    site: str = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.direction, Direction):
            raise InputError(
                "steering needs a Direction (as directions['hi']), not "
                f"{type(self.direction).__name__}."
            )
        for kind, value, allowed in (("way to steer", self.how, How), ("scope", self.scope, Scope)):
            if value not in get_args(allowed):
                raise unknown(kind, value, get_args(allowed))
        if not math.isfinite(self.strength):
            raise InputError(f"strength must be a finite number, not {self.strength}.")
        if self.start < 0:
            raise InputError(f"start counts positions from 0, not {self.start}.")
        if not 0 <= self.probability <= 1:
            raise InputError(f"probability must lie within 0 to 1, not {self.probability}.")
        check_rows(self.rows)
        count = len(self.direction.vector)
        for layer in self.layers or ():
            if not 0 <= layer < count:
                raise InputError(
                    f"no layer {layer}: choose within the {count} of the direction, from 0 on."
                )
        object.__setattr__(self, "site", self.direction.site)
        if not self.name:
            words = [self.how, self.direction.name, f"{self.strength:g}"]
            words += [] if self.layers is None else [f"in {','.join(map(str, self.layers))}"]
            words += [] if self.scope == "all" else [self.scope]
            words += [] if self.rows is None else [f"rows {','.join(map(str, self.rows))}"]
            object.__setattr__(self, "name", " ".join(words))

    @property
    def touched(self) -> tuple[int, ...]:
        """Layers in which something changes, ascending."""
        chosen = range(len(self.direction.vector)) if self.layers is None else self.layers
        lengths = self.direction.norm
        return tuple(
            sorted({layer for layer in chosen if self.strength != 0 and lengths[layer] > 0})
        )

    @property
    def every_token(self) -> bool:
        """Whether every token is touched."""
        everywhere = self.scope == "all" and self.start == 0 and self.rows is None
        return everywhere and self.probability == 1

    def check(self, lm: LanguageModel) -> None:
        """Raise :class:`InputError` if the direction is of another model."""
        self.direction.check(lm)

    def identity(self) -> dict[str, Any]:
        """JSON-able content, for keys of artifacts: equal exactly when the effect is."""
        return {
            **self.direction.identity(),
            "how": self.how,
            "strength": self.strength,
            "layers": list(self.touched),
            "scope": self.scope,
            "start": self.start,
            "probability": self.probability,
            "seed": self.seed if self.probability < 1 else None,
            **({} if self.rows is None else {"rows": sorted(set(self.rows))}),
        }

    def writers(self, lm: LanguageModel) -> dict[int, Along]:
        """One writer a layer, after all checks.

        Raises:
            InputError: If the direction is of another model.
        """
        self.check(lm)
        return {layer: Along(self, layer) for layer in self.touched}


class Along:
    """Changes the activations of one layer along its direction, in float32.

    Args:
        steering: What is done.
        layer: The layer.
    """

    def __init__(self, steering: Steering, layer: int) -> None:
        given = steering.direction
        self._how = steering.how
        vector = given.vector[layer]
        unit = torch.nn.functional.normalize(vector, dim=0, eps=1e-30)
        centre = given.mean[layer] if steering.how == "ablate" else torch.zeros_like(vector)
        self._step = steering.strength * vector
        self._factor = steering.strength * float(given.gain[layer])
        self._unit, self._centre = unit, centre

    def write(self, activation: Tensor) -> Tensor:
        """The activations (..., width) as they become, at every token."""
        x = activation.float()
        if self._unit.device != x.device:
            self._unit, self._centre, self._step = (
                item.to(x.device) for item in (self._unit, self._centre, self._step)
            )
        if self._how in ("add", "keep_norm"):
            new = x + self._step
            if self._how == "keep_norm":
                # What the step takes to 0 has no direction left to keep the norm in, and stays 0.
                length = new.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
                new = new / length * x.norm(dim=-1, keepdim=True)
        else:
            along = (x - self._centre) @ self._unit
            new = x - self._factor * along.unsqueeze(-1) * self._unit
        return new.to(activation.dtype)

    def write_where(self, activation: Tensor, chosen: Tensor) -> Tensor:
        """The same at the tokens of a mask (batch, sequence) or (1, sequence)."""
        touched = chosen.to(activation.device).unsqueeze(-1)
        return torch.where(touched, self.write(activation), activation)
