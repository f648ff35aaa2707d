"""Where query, key and value lie in the attention projections.

Most families have one projection each. Others compute all three at once, in one of four layouts:
all queries, all keys, all values; query, key and value of the first head, of the second, ...; the
queries that share a key head, that key, that value; or the first split over four devices (CodeGen).
Neither names nor shapes tell which, so a layout is tried: it is right if the model behaves so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from langneurons.models.handles import holding
from langneurons.models.roles import Attention, Part
from langneurons.models.trace import first_tensor, tiny_ids

_ROLES = "qkv"
_NAMES = {role: {f"{role}_proj", f"w{role}", role, name, f"{name}_proj"} for role, name in
          (("q", "query"), ("k", "key"), ("v", "value"))}  # fmt: skip
_SHARDS = 4

Columns = Tensor | None


def separate(role: str, projections: Sequence[Part]) -> Part | None:
    """The projection that computes one role alone, by its name; None where there is none."""
    return next((p for p in projections if p.path.rpartition(".")[2].lower() in _NAMES[role]), None)


def layouts(width: int, heads: int, groups: int) -> Iterator[dict[str, Tensor]]:
    """Ways in which ``width`` columns can hold queries, keys and values: role to int64 columns."""
    size, rest = divmod(width, heads + 2 * groups)
    if rest:
        return
    columns = torch.arange(width)
    sizes = [heads * size, groups * size, groups * size]
    yield dict(zip(_ROLES, columns.split(sizes), strict=True))
    shared = heads // groups
    grouped = columns.reshape(groups, shared + 2, size)
    yield {
        "q": grouped[:, :shared].reshape(-1),
        "k": grouped[:, shared].reshape(-1),
        "v": grouped[:, shared + 1].reshape(-1),
    }
    if heads == groups and heads % _SHARDS == 0:
        q, v, k = columns.reshape(_SHARDS, 3, -1).unbind(1)
        yield {"q": q.reshape(-1), "k": k.reshape(-1), "v": v.reshape(-1)}


def projection_columns(
    attention: Attention, backbone: nn.Module, layer: nn.Module, config: Any
) -> dict[str, tuple[Part, Columns]]:
    """The projection behind each role and the columns of its output that belong to it.

    Every answer is verified on the running model: see :func:`behaves`.

    Args:
        attention: The layer's attention.
        backbone: Model without its head.
        layer: The layer.
        config: Model configuration with the number of (key) heads.

    Returns:
        Role (``q``, ``k``, ``v``) to the projection and its int64 columns, None for all; roles that
        have no place of their own are left out.
    """
    found: dict[str, tuple[Part, Columns]] = {}
    for role in _ROLES:
        part = separate(role, attention.projections)
        if part is not None and behaves(role, part, None, attention, backbone, layer):
            found[role] = (part, None)
    if found or any(separate(role, attention.projections) for role in _ROLES):
        return found
    heads = int(getattr(config, "num_attention_heads", None) or 1)
    for part in attention.projections:
        for groups in {key_heads(config, heads), heads}:
            if heads % groups:
                continue
            for columns in layouts(part.width_out, heads, groups):
                tried = {role: (part, columns[role]) for role in _ROLES}
                if all(
                    behaves(role, part, columns[role], attention, backbone, layer)
                    for role in _ROLES
                ):
                    return dict(tried)
    return {}


def key_heads(config: Any, heads: int) -> int:
    """Number of key and value heads, as the configuration says it."""
    if getattr(config, "new_decoder_architecture", False):
        return int(config.num_kv_heads)
    if getattr(config, "multi_query", False):
        return 1
    if hasattr(config, "new_decoder_architecture"):
        return heads
    return int(getattr(config, "num_key_value_heads", None) or heads)


def behaves(
    role: str,
    part: Part,
    columns: Columns,
    attention: Attention,
    backbone: nn.Module,
    layer: nn.Module,
) -> bool:
    """Whether columns of a projection act as queries, keys or values do in causal attention.

    The first token attends to itself alone, so its output is its value, whatever its query and its
    key. Its query reaches no other token; its key moves what later tokens read; its value changes
    its own output. Tried on three equal rows: the first is left as it is, in the others the columns
    are changed at the first and at the last token.
    """
    seen: list[Tensor] = []
    index = torch.arange(part.width_out) if columns is None else columns
    module = layer.get_submodule(part.path)

    def change(_module: Any, _args: Any, output: Any) -> Any:
        whole = first_tensor(output)
        assert whole is not None
        changed = whole.clone().reshape(_ROWS, -1, whole.shape[-1])
        where = index.to(whole.device)
        scale = 3 * changed.detach().float().std().clamp_min(1e-3)
        noise = torch.randn(len(where), generator=torch.Generator().manual_seed(0)) * scale.cpu()
        noise = noise.to(whole.device, whole.dtype)
        for row, token in ((1, 0), (2, -1)):
            changed[row, token, where] = noise - changed[row, token, where]
        changed = changed.reshape(whole.shape)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    def keep(_module: Any, args: Any, kwargs: Any) -> None:
        source = first_tensor(args) if args else first_tensor(list(kwargs.values()))
        assert source is not None
        seen.append(source.detach().reshape(_ROWS, -1, source.shape[-1]).float())
        raise _SeenError

    output = layer.get_submodule(attention.output.path)
    with contextlib.ExitStack() as stack, torch.no_grad():
        stack.enter_context(_inside(layer, module, change))
        stack.enter_context(_inside(layer, output, keep, before=True))
        with contextlib.suppress(_SeenError):
            backbone(input_ids=tiny_ids(backbone, _ROWS), use_cache=False)
    if not seen:
        return False
    moved = (seen[0] - seen[0][:1]).abs().amax(-1)  # (rows, tokens)
    bar = float(seen[0][0].abs().max()) * (1e-2 if _coarse(backbone) else 1e-4)
    first, last = (moved[1] > bar).tolist(), (moved[2] > bar).tolist()
    match role:
        case "q":
            return not any(first) and not any(last[:-1]) and last[-1]
        case "k":
            return not first[0] and any(first[1:]) and not any(last[:-1])
        case _:
            return first[0] and not any(last[:-1]) and last[-1]


_ROWS = 3


class _SeenError(Exception):
    """Raised once the output projection was reached; the rest of the model need not run."""


def _coarse(backbone: nn.Module) -> bool:
    kinds = {p.dtype for p in backbone.parameters()}
    return bool(kinds - {torch.float32, torch.float64})


@contextlib.contextmanager
def _inside(
    layer: nn.Module, module: nn.Module, fn: Any, *, before: bool = False
) -> Iterator[None]:
    """Hook a module for the time this layer runs (others may share the module)."""
    runs: list[bool] = [False]

    def guarded(*args: Any) -> Any:
        return fn(*args) if runs[0] else None

    register = module.register_forward_pre_hook if before else module.register_forward_hook
    options = {"with_kwargs": True} if before else {}
    with (
        holding(register(guarded, **options)),
        holding(layer.register_forward_pre_hook(lambda *_: runs.__setitem__(0, True))),
        holding(layer.register_forward_hook(lambda *_: runs.__setitem__(0, False))),
    ):
        yield
