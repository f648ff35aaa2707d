"""The units inside routed experts: read or replaced on the tokens that are sent to each expert.

Transformers runs nearly all mixtures by one of a few functions (one expert after another, batched,
grouped), each of which calls the module's own gate on all rows at once; that call is what is stood
in for here, so that the model's own function runs. Only the loop over experts, which families write
out in their own ``forward``, is done here, and compared with the model's when a site is resolved.
No (tokens, experts x units) tensor is made: rows are tokens as they were routed.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from langneurons.errors import RunError
from langneurons.models.experts import Experts, routing_arguments
from langneurons.models.handles import holding, replacing
from langneurons.models.trace import tiny_ids

Stage = Literal["pre", "act", "out"]


@dataclass(frozen=True)
class Routed:
    """The units of a layer's experts where they run: one row for each token and chosen expert.

    Attributes:
        values: (n, inner), the units of the row's expert.
        experts: int64 (n,), the expert of each row, in any order; all rows are there at once.
        tokens: int64 (n,), its token, counted through (batch, sequence).
    """

    values: Tensor
    experts: Tensor
    tokens: Tensor


Probe = Callable[[Routed], Tensor | None]

_probes: weakref.WeakKeyDictionary[nn.Module, list[tuple[Stage, Probe]]] = (
    weakref.WeakKeyDictionary()
)


def inner_width(experts: Experts) -> int:
    """Units in each expert."""
    down: Any = experts.module.down_proj
    return int(down.shape[1] if _transposed(experts.module) else down.shape[2])


def unreadable(experts: Experts) -> str | None:
    """Why the units inside these experts cannot be reached; None where they can, as far as seen."""
    module = experts.module
    up, down = (getattr(module, name, None) for name in (_up_name(module), "down_proj"))
    for weight in (up, down):
        if not isinstance(weight, Tensor) or weight.ndim != 3 or not weight.is_floating_point():
            return "their weights are quantised, or not one stack of matrices up and one down"
    if experts.listed and not hasattr(module, "has_gate"):
        return "they are not run by one of the functions for experts of Transformers 5"
    if not experts.listed and not hasattr(module, "act_fn"):
        return "they have no activation function of their own"
    return None


def unlike(backbone: nn.Module, found: Sequence[Experts | None]) -> tuple[int, str] | None:
    """A layer whose experts do something else than is done here, and what; None where all agree.

    Runs the model once on a few tokens.

    Args:
        backbone: Model without its head.
        found: Experts of each layer; those that :func:`unreadable` has nothing against.
    """
    wrong: dict[int, str] = {}
    with contextlib.ExitStack() as stack, torch.no_grad():
        for number, experts in enumerate(found):
            if experts is None:
                continue
            tried = _Trial(experts)
            stack.enter_context(tried.routing())

            def after(
                _module: nn.Module, args: Any, kwargs: Any, output: Any,
                number: int = number, tried: _Trial = tried,
            ) -> None:  # fmt: skip
                if (reason := tried.differs(args, kwargs, output)) is not None:
                    wrong[number] = reason

            hook = experts.module.register_forward_hook(after, with_kwargs=True)
            stack.enter_context(holding(hook))
        backbone(input_ids=tiny_ids(backbone), use_cache=False)
    return min(wrong.items(), default=None)


@contextlib.contextmanager
def probing(experts: Experts, stage: Stage, probe: Probe) -> Iterator[None]:
    """Call ``probe`` on the units of a layer's experts while the block runs.

    Blocks may be nested: the inner ones act after the outer ones.

    Args:
        experts: The layer's experts.
        stage: ``pre``: what the gate projection gives; ``act``: what the activation function gives;
            ``out``: what the down projection reads.
        probe: Given the rows; returns None, or new values of the same shape.

    Raises:
        RunError: From the forward pass, if the experts run by a kernel that calls no gate.
    """
    active = _probes.setdefault(experts.module, [])
    entry = (stage, probe)
    active.append(entry)
    try:
        if len(active) > 1:
            yield
            return
        run = _Listed(experts, active) if experts.listed else _Dense(experts, active)
        inner = experts.module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            return run(inner, args, kwargs)

        with run.routing(), replacing(experts.module, "forward", forward):
            yield
    finally:
        active.remove(entry)


def gate_columns(module: nn.Module, width: int) -> slice:
    """Columns of what the up projection gives that the activation function reads."""
    if not getattr(module, "has_gate", True):
        return slice(None)
    if getattr(module, "is_concatenated", True):
        return slice(0, width)
    return slice(0, None, 2)


def _up_name(module: nn.Module) -> str:
    return "gate_up_proj" if getattr(module, "has_gate", True) else "up_proj"


def down_is_transposed(experts: Experts) -> bool:
    """Whether the down projections are stored as (experts, inner, hidden size)."""
    return _transposed(experts.module)


@torch.no_grad()
def scales(experts: Experts) -> bool:
    """Whether what the down projection reads is a multiple of the activation.

    So it is in a gate that multiplies both; a clamp behind the activation function is none.
    """
    width = inner_width(experts)
    twice: list[tuple[Stage, Probe]] = [("act", lambda routed: 2 * routed.values)]
    down: Any = experts.module.down_proj
    generator = torch.Generator().manual_seed(0)
    if experts.listed:
        both = 2 * width if getattr(experts.module, "has_gate", True) else width
        up = 3 * torch.randn(64, both, generator=generator).to(down.device, down.dtype)
        plain, double = (_Gate(experts.module, _Stages(p), width)(up) for p in ([], twice))
        return _near(double, 2 * plain)
    rows = torch.randn(8 * experts.count, down.shape[2], generator=generator)
    found = []
    for probes in ([], twice):
        run = _Dense(experts, probes)
        run.weights = torch.ones(8, experts.count)
        given = rows.to(down.device, down.dtype)
        found.append(run(experts.module.forward, (given,), {}))
    return _near(found[1], 2 * found[0])


def _transposed(module: nn.Module) -> bool:
    # Experts that run on all tokens (Llama 4) are multiplied as they are stored.
    return bool(getattr(module, "is_transposed", True))


class _Stages:
    """Hands the rows of one pass to the probes of each stage."""

    def __init__(self, probes: Sequence[tuple[Stage, Probe]]) -> None:
        self.probes = probes
        self.experts = self.tokens = torch.empty(0, dtype=torch.int64)
        self.seen: set[Stage] = set()

    def on(self, experts: Tensor, tokens: Tensor) -> None:
        """Begin a pass over these rows."""
        self.experts, self.tokens = experts, tokens
        self.seen.clear()

    def changed(self, stage: Stage, values: Tensor) -> Tensor | None:
        """New values (n, inner), or None where no probe has any."""
        self.seen.add(stage)
        new = None
        for name, probe in self.probes:
            if name != stage:
                continue
            given = values if new is None else new
            answer = probe(Routed(given, self.experts, self.tokens))
            new = new if answer is None else answer.to(values.dtype)
        return new

    def has(self, stage: Stage) -> bool:
        return any(name == stage for name, _ in self.probes)


class _Gate:
    """Stands in for the step of a module from its up projection to its down projection."""

    def __init__(self, module: nn.Module, stages: _Stages, width: int) -> None:
        self._module, self._stages, self._width = module, stages, width
        self.gated = bool(module.has_gate)
        self.name = "_apply_gate" if self.gated else "act_fn"
        self._own: Callable[[Tensor], Tensor] = getattr(module, self.name)
        self._columns = gate_columns(module, width)

    def __call__(self, up: Tensor) -> Tensor:
        stages = self._stages
        if stages.has("pre"):
            gate = stages.changed("pre", up[..., self._columns])
            up = up if gate is None else self._with_gate(up, gate)
        if not self.gated:
            out = self._own(up)
            new = stages.changed("act", out)
            out = out if new is None else new
        elif not stages.has("act"):
            out = self._own(up)
        elif hasattr(self._module, "act_fn"):
            out = self._by_function(up)
        else:
            out = self._by_factor(up)
        new = stages.changed("out", out)
        return out if new is None else new

    def _with_gate(self, up: Tensor, gate: Tensor | float) -> Tensor:
        up = up.clone()
        up[..., self._columns] = gate
        return up

    def _by_function(self, up: Tensor) -> Tensor:
        """The activation function is called within the gate."""
        own = self._module.act_fn
        calls = []

        def act(*args: Tensor) -> Tensor:
            calls.append(args)
            y: Tensor = own(*args)  # type: ignore[operator]
            new = self._stages.changed("act", y)
            return y if new is None else new

        with replacing(self._module, "act_fn", act):
            out = self._own(up)
        if [len(args) for args in calls] != [1]:
            raise RunError(
                "the activation function of the experts is called otherwise than once in a pass on "
                "one tensor, so 'moe.act' cannot be reached: use 'moe.out'."
            )
        return out

    def _by_factor(self, up: Tensor) -> Tensor:
        """It is written out (gpt-oss): the gate is its value times a function of the other half.

        That function does not depend on the gate, and is 1 where the other half is 0, or 1.
        """
        out = self._own(up)
        act = self.act(up)
        new = self._stages.changed("act", act)
        if new is None:
            return out
        factor = self.factor(up)
        # Unchanged values give what they gave, to the last bit; the summand 0 has a gradient.
        return torch.where(new == act, out + (new - act) * factor, new * factor)

    def act(self, up: Tensor) -> Tensor:
        """The activation, (n, inner): the gate where the other half of ``up`` changes nothing."""
        gate = up[..., self._columns]
        alone = self._own(self._with_gate(torch.zeros_like(up), 1.0))
        neutral = 0.0 if bool(alone.any()) else 1.0  # (x + 1) act of gpt-oss, x act of HY V4
        return self._own(self._with_gate(torch.full_like(up, neutral), gate))

    def factor(self, up: Tensor) -> Tensor:
        """What the activation is multiplied with."""
        one = self._with_gate(up, 1.0)
        return self._own(one) / self.act(one)


class _Listed:
    """Runs experts that are called with the chosen ones and their weights."""

    def __init__(self, experts: Experts, probes: Sequence[tuple[Stage, Probe]]) -> None:
        self.experts, self.module = experts, experts.module
        self.stages = _Stages(probes)
        self.width = inner_width(experts)

    def routing(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to follow: the module is told."""
        return contextlib.nullcontext()

    def __call__(self, inner: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        kind = getattr(self.module.config, "_experts_implementation", None) or "eager"
        if kind == "eager":
            return self.loop(args, kwargs)
        _, index, _ = self.given(args, kwargs)
        if kind == "grouped_mm":
            chosen, order = torch.sort(index.reshape(-1))  # the very call that the function makes
            self.stages.on(chosen.long(), order // index.shape[-1])
        elif kind == "batched_mm":
            tokens = torch.arange(len(index), device=index.device)
            self.stages.on(index.reshape(-1).long(), tokens.repeat_interleave(index.shape[-1]))
        else:
            raise self._kernel(f"are run by {kind!r}")
        gate = _Gate(self.module, self.stages, self.width)
        with replacing(self.module, gate.name, gate):
            result = inner(*args, **kwargs)
        if "out" not in self.stages.seen:
            raise self._kernel(f"ran by {kind!r} without their gate")
        return result

    def given(self, args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """What goes into the experts (tokens, hidden size), the chosen ones and their weights."""
        keys = routing_arguments(args, kwargs)
        if keys is None:
            raise self._kernel("were called without the chosen ones and their weights")
        if getattr(self.module, "_is_expert_parallel", False):
            raise self._kernel("are spread over processes")
        values: dict[int | str, Any] = dict(enumerate(args))
        values.update(kwargs.items())
        index, weights = values.pop(keys[0]), values.pop(keys[1])
        hidden = next(item for item in values.values() if isinstance(item, Tensor))
        return hidden, index, weights

    def _kernel(self, what: str) -> RunError:
        return RunError(
            f"the experts of {self.experts.path!r} {what}, so the units inside cannot be reached: "
            "load the model with experts_implementation='grouped_mm' or 'eager', on one process."
        )

    def loop(self, args: Any, kwargs: Any) -> Tensor:
        """One expert after another, in the order of the families' own loops."""
        hidden, index, weights = self.given(args, kwargs)
        module: Any = self.module
        if module.down_proj.is_meta:
            raise self._kernel("are kept elsewhere while they do not run")
        chosen = index.T.reshape(-1).long()
        order = torch.argsort(chosen, stable=True)
        experts, tokens, place = chosen[order], order % len(index), order // len(index)
        self.stages.on(experts, tokens)
        pieces = pieces_of(experts, self.experts.count)
        rows = hidden[tokens]
        up = torch.cat([self._linear(_up_name(module), e, rows[a:b]) for e, a, b in pieces])
        inner = _Gate(module, self.stages, self.width)(up)
        result = torch.zeros_like(hidden)
        for e, a, b in pieces:
            out = self._linear("down_proj", e, inner[a:b])
            if module.has_post_expert_norm:
                out = module.post_expert_norm(out)
            out = out * weights[tokens[a:b], place[a:b], None]
            result.index_add_(0, tokens[a:b], out.to(result.dtype))
        return result

    def _linear(self, name: str, expert: int, rows: Tensor) -> Tensor:
        module: Any = self.module
        weight = getattr(module, name)[expert]
        made = rows @ weight if module.is_transposed else nn.functional.linear(rows, weight)
        return made + getattr(module, f"{name}_bias")[expert] if module.has_bias else made


def pieces_of(experts: Tensor, count: int) -> list[tuple[int, int, int]]:
    """(expert, first row, one behind the last) of each expert with rows.

    Args:
        experts: int64 (n,), ascending.
        count: Number of experts.
    """
    sizes = torch.bincount(experts, minlength=count).tolist()
    found, start = [], 0
    for expert, size in enumerate(sizes):
        if size:
            found.append((expert, start, start + size))
        start += size
    return found


class _Dense:
    """Runs experts that are given every token, with weight 0 where they are not chosen."""

    def __init__(self, experts: Experts, probes: Sequence[tuple[Stage, Probe]]) -> None:
        self.experts, self.module = experts, experts.module
        self.stages = _Stages(probes)
        self.weights: Tensor | None = None

    @contextlib.contextmanager
    def routing(self) -> Iterator[None]:
        """Follow what the router gives."""

        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            self.weights = output[0]

        with holding(self.experts.router.register_forward_hook(keep)):
            yield

    def __call__(self, inner: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        module: Any = self.module
        assert self.weights is not None
        self.stages.on(*(self.weights != 0).T.nonzero(as_tuple=True))
        own = module.act_fn

        def act(x: Tensor) -> Tensor:
            return self._at("act", own(self._at("pre", x)))

        with replacing(module, "act_fn", act), _Before(module.down_proj, self._at):
            result = inner(*args, **kwargs)
        if self.stages.seen != {"pre", "act", "out"}:
            raise RunError(
                f"the experts of {self.experts.path!r} ran without their activation function or "
                "down projection, so the units inside cannot be reached: load the model without "
                "kernels of its own."
            )
        return result

    def _at(self, stage: Stage, whole: Tensor) -> Tensor:
        """The rows of a stage within (experts, tokens, inner)."""
        place = self.stages.experts, self.stages.tokens
        new = self.stages.changed(stage, whole[place])
        return whole if new is None else whole.index_put(place, new)


class _Before(TorchFunctionMode):
    """Changes what is multiplied with the down projections."""

    def __init__(self, down: Tensor, change: Callable[[Stage, Tensor], Tensor]) -> None:
        super().__init__()
        self._down, self._change = down, change

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (torch.bmm, torch.matmul) and len(args) == 2 and args[1] is self._down:
            args = (self._change("out", args[0]), args[1])
        return func(*args, **(kwargs or {}))


class _Trial:
    """Computes a layer's experts again, as probes would, and compares."""

    def __init__(self, experts: Experts) -> None:
        stages: tuple[Stage, ...] = ("pre", "act", "out")
        nothing: list[tuple[Stage, Probe]] = [(s, lambda r: r.values.clone()) for s in stages]
        self._run = _Listed(experts, nothing) if experts.listed else _Dense(experts, nothing)
        self._busy = False

    def routing(self) -> contextlib.AbstractContextManager[None]:
        return self._run.routing()

    def differs(self, args: Any, kwargs: Any, output: Any) -> str | None:
        """What is not as it should be."""
        run = self._run
        try:
            if isinstance(run, _Listed):
                again = run.loop(args, kwargs)
            else:
                again = run(run.module.forward, args, kwargs)
        except RunError as error:
            return str(error).partition(": ")[0]
        if not isinstance(output, Tensor) or not _near(again, output):
            return "they compute something else than their weights and gate say"
        if isinstance(run, _Listed) and run.module.has_gate and not hasattr(run.module, "act_fn"):
            gate = _Gate(run.module, run.stages, run.width)
            up = torch.linspace(-9, 9, 2 * run.width * 7).reshape(7, -1)
            up = up[:, torch.arange(2 * run.width) * 5 % (2 * run.width)].to(output)
            if not _near(gate.act(up) * gate.factor(up), gate(up)):
                return "their gate is no product of an activation and a factor"
        return None


def _near(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers up to rounding in their type; NaN is any number."""
    share = 2e-2 if a.dtype in (torch.float16, torch.bfloat16) else 1e-4
    a, b = a.double(), b.double()
    gap = torch.where(a.isnan() & b.isnan(), 0.0, a - b).abs().nan_to_num(nan=torch.inf)
    return bool((gap <= share * (b.abs().nan_to_num().mean() + b.abs().nan_to_num())).all())
