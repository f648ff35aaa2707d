"""What a forward pass is given, read where the user's call enters the model.

Inside a model ids become embeddings and a mask (batch, sequence) becomes whatever its attention
wants; outside both are what the user passed. Under ``generate`` even the outermost call may see
only prepared masks, so there the mask is read where Transformers prepares the call.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from langneurons.models.handles import holding, replacing
from langneurons.models.plain import plain_model

if TYPE_CHECKING:
    from langneurons.models.language_model import LanguageModel


@dataclass(frozen=True)
class Pass:
    """The arguments of one forward pass.

    Attributes:
        shape: (batch, sequence) of the tokens run in this pass.
        device: Where they are.
        ids: Token ids (batch, sequence), or None where embeddings were given.
        past: Tokens in the key-value cache before this pass.
        mask: bool (batch, past + sequence), false at padding; None where none was given, that is
            where every token is real.
        mask_unknown: Shape or type of a mask that says nothing about single tokens; "" otherwise.
        position_ids: int64 (batch or 1, sequence), where the caller gave some.
        prompt: Columns of the prompt, cached ones among them, where ``generate`` runs the pass.
        chunk: Whether the pass runs one of several pieces of that prompt.
    """

    shape: tuple[int, int]
    device: torch.device
    ids: Tensor | None
    past: int
    mask: Tensor | None = None
    mask_unknown: str = ""
    position_ids: Tensor | None = None
    prompt: int | None = None
    chunk: bool = False


@dataclass
class _Prepared:
    """What ``generate`` was about to run, before Transformers prepared it."""

    mask: Any
    prompt: int
    first: bool


def positions_of(mask: Tensor) -> Tensor:
    """Position of each token of a padded batch, counted from its first real one, from 0.

    Args:
        mask: (batch, sequence), true or 1 at real tokens.

    Returns:
        int64 (batch, sequence); padding gets the position of the token before it, at least 0.
    """
    return (mask.long().cumsum(1) - 1).clamp_min(0)


def pass_arguments(lm: LanguageModel, input_ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Arguments for ``lm.model`` or ``lm.backbone`` under which padding changes nothing.

    Args:
        lm: The model.
        input_ids: int64 (batch, sequence).
        mask: (batch, sequence), true or 1 at real tokens.

    Returns:
        ``input_ids``, and, where there is padding on either side, ``attention_mask`` (int64) and
        ``position_ids`` where the model takes them; on the model's device.
    """
    arguments = {"input_ids": input_ids.to(lm.device)}
    if not bool(mask.all()):
        arguments["attention_mask"] = mask.to(lm.device, torch.int64)
        if "position_ids" in inspect.signature(type(lm.backbone).forward).parameters:
            arguments["position_ids"] = positions_of(mask).to(lm.device)
    return arguments


@contextlib.contextmanager
def follow_passes(lm: LanguageModel, fn: Callable[[Pass], None]) -> Iterator[None]:
    """Call ``fn`` with the arguments of every forward pass of the block, before it runs.

    The pass may enter at the model (PEFT's wrapper around it too), at its backbone or at its
    decoder: the outermost call that says what the tokens are is the one that counts.

    Args:
        lm: The model.
        fn: Called once a pass.
    """
    follower = _Follower(lm, fn)
    with contextlib.ExitStack() as stack:
        stack.enter_context(follower.generating())
        for module in follower.modules:
            before = module.register_forward_pre_hook(follower.enter, with_kwargs=True)
            stack.enter_context(holding(before))
            # Also after an exception: the next call is outermost again.
            after = module.register_forward_hook(follower.leave, always_call=True)
            stack.enter_context(holding(after))
        yield


class _Follower:
    def __init__(self, lm: LanguageModel, fn: Callable[[Pass], None]) -> None:
        self._fn = fn
        self._plain: nn.Module = plain_model(lm.model)
        self._decoder = lm.decoder
        chain = [lm.model, self._plain, lm.backbone, lm.decoder]
        self.modules: list[nn.Module] = list({id(module): module for module in chain}.values())
        self._names = {id(m): inspect.signature(m.forward) for m in self.modules}
        self._depth = 0
        self._shape: tuple[int, int] | None = None
        self._prepared: _Prepared | None = None
        self._fresh = False
        self._piece_end = 0

    @contextlib.contextmanager
    def generating(self) -> Iterator[None]:
        """Read mask and prompt where ``generate`` hands them over to be prepared."""
        name = "prepare_inputs_for_generation"
        original = getattr(self._plain, name, None)
        if original is None:
            yield
            return

        @functools.wraps(original)
        def prepare(input_ids: Any, *args: Any, **kwargs: Any) -> Any:
            made = original(input_ids, *args, **kwargs)
            given = [input_ids, kwargs.get("inputs_embeds"), kwargs.get("attention_mask")]
            columns = max(
                (int(t.shape[1]) for t in given if isinstance(t, Tensor) and t.ndim > 1), default=0
            )
            first = bool(kwargs.get("is_first_iteration"))
            known = self._prepared.prompt if self._prepared is not None and not first else columns
            self._prepared = _Prepared(kwargs.get("attention_mask"), known, first)
            self._fresh = True
            return made

        with replacing(self._plain, name, prepare):
            yield

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._depth == 0:
            self._shape = None
        self._depth += 1
        given = self._names[id(module)].bind_partial(*args, **kwargs).arguments
        given = {**given, **given.get("kwargs", {})}
        tokens = _first_tensor(given.get("input_ids"), given.get("inputs_embeds"))
        if tokens is None or tokens.ndim < 2:
            return
        shape = (int(tokens.shape[0]), int(tokens.shape[1]))
        # A wrapper may put tokens before the user's (prompt tuning): then the inner call counts.
        if self._shape is None or (module is self._decoder and shape != self._shape):
            self._shape = shape
            prepared = self._prepared if self._fresh else None
            self._fresh = False
            self._fn(self._pass(given, tokens, prepared))

    def leave(self, *_: Any) -> None:
        self._depth -= 1

    def _pass(self, given: dict[str, Any], tokens: Tensor, prepared: _Prepared | None) -> Pass:
        found = _read(given, tokens, None if prepared is None else prepared.mask)
        if prepared is None:
            self._piece_end = 0
            return found
        end = found.past + found.shape[1]
        chunk = prepared.first and 0 < found.past == self._piece_end
        self._piece_end = end if prepared.first else 0
        if prepared.first:
            prepared.prompt = max(prepared.prompt, end)
        return replace(found, prompt=prepared.prompt, chunk=chunk)


def _first_tensor(*values: Any) -> Tensor | None:
    return next((value for value in values if isinstance(value, Tensor)), None)


def _read(given: dict[str, Any], tokens: Tensor, prepared: Any) -> Pass:
    """A pass from its arguments and the mask (or None) that ``generate`` prepared it from."""
    shape = (int(tokens.shape[0]), int(tokens.shape[1]))
    # Known by what it can do: its name has changed between versions and families.
    cache = next((value for value in given.values() if hasattr(value, "get_seq_length")), None)
    past = 0 if cache is None else int(cache.get_seq_length())
    mask, unknown = given.get("attention_mask"), ""
    if prepared is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
        mask = prepared
    if isinstance(mask, Tensor) and mask.ndim == 2:
        columns = int(mask.shape[1])
        if cache is None and columns > shape[1]:
            past = columns - shape[1]  # a state that does not say how much it has read
        if columns >= past + shape[1]:
            mask = mask[:, : past + shape[1]].bool()
        else:
            mask, unknown = None, f"with {columns} columns for {past + shape[1]} tokens"
    elif mask is not None:
        unknown = (
            f"of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        )
        mask = None
    position_ids = given.get("position_ids")
    if not (isinstance(position_ids, Tensor) and position_ids.shape[-1] == shape[1]):
        position_ids = None
    elif position_ids.ndim == 1:
        position_ids = position_ids.unsqueeze(0)
    elif position_ids.ndim != 2:
        position_ids = None  # one row for each axis of an image
    return Pass(
        shape=shape,
        device=tokens.device,
        ids=given.get("input_ids") if isinstance(given.get("input_ids"), Tensor) else None,
        past=past,
        mask=mask,
        mask_unknown=unknown,
        position_ids=position_ids,
    )
