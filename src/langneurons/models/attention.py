"""Where query, key and value lie in the attention projections.

Most families have one projection each. Some compute all three at once, in one of three layouts:
``contiguous`` (all queries, all keys, all values), ``per head`` (query, key and value of the first
head, of the second, ...) and ``per group`` (the queries that share a key head, that key, that
value). Which one a fused projection uses cannot be read from shapes, so they are told by the
projection's own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from langneurons.errors import InputError
from langneurons.models.trace import Call

_CONTIGUOUS = frozenset({"c_attn", "qkv_proj", "Wqkv"})
_INTERLEAVED = frozenset({"query_key_value"})
_ROLES = "qkv"


def projection_columns(
    site: str, projections: Sequence[Call], config: Any
) -> tuple[Call, Tensor | None]:
    """The projection that computes ``site`` and the columns of its output that belong to it.

    Args:
        site: ``attn.q``, ``attn.k`` or ``attn.v``.
        projections: Calls of the attention module's projections other than its output projection.
        config: Model configuration with the number of (key) heads.

    Returns:
        The call, and int64 column numbers or None for all columns.

    Raises:
        InputError: If the projections have no known shape; names them.
    """
    role = site[-1]
    for call in projections:
        name = call.path.rpartition(".")[2].lower()
        if name in (
            f"{role}_proj",
            f"w{role}",
            role,
            {"q": "query", "k": "key", "v": "value"}[role],
        ):
            return call, None
    fused = [c for c in projections if c.path.rpartition(".")[2] in _CONTIGUOUS | _INTERLEAVED]
    if len(fused) != 1:
        seen = ", ".join(call.path for call in projections) or "none"
        raise InputError(
            f"the site {site!r} needs separate or fused query, key and value projections; "
            f"projections seen in layer 0: {seen}. Use 'attn.out' or 'attn.head'."
        )
    call = fused[0]
    heads = int(config.num_attention_heads)
    groups = _key_heads(config, heads)
    size, rest = divmod(call.width_out, heads + 2 * groups)
    if rest:
        raise InputError(
            f"{call.path} gives {call.width_out} values, which do not split into {heads} query "
            f"and 2 x {groups} key and value heads. Use 'attn.out' or 'attn.head'."
        )
    # Falcon's multi-query layout is the one-group case of both, so nothing is to be told apart.
    per_group = call.path.rpartition(".")[2] in _INTERLEAVED
    return call, _columns(role, heads, groups, size, per_group=per_group)


def _key_heads(config: Any, heads: int) -> int:
    if getattr(config, "new_decoder_architecture", False):
        return int(config.num_kv_heads)
    if getattr(config, "multi_query", False):
        return 1
    if hasattr(config, "new_decoder_architecture"):
        return heads
    return int(getattr(config, "num_key_value_heads", None) or heads)


def _columns(role: str, heads: int, groups: int, size: int, *, per_group: bool) -> Tensor:
    columns = torch.arange((heads + 2 * groups) * size)
    if not per_group:
        parts = columns.split([heads * size, groups * size, groups * size])
        chosen: Tensor = parts[_ROLES.index(role)]
        return chosen.clone()
    shared = heads // groups
    grouped = columns.reshape(groups, shared + 2, size)
    part = {"q": grouped[:, :shared], "k": grouped[:, shared], "v": grouped[:, shared + 1]}[role]
    return part.reshape(-1).clone()
