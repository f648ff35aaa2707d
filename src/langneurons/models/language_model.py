"""A decoder of Transformers together with its tokenizer and the places where its units are."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from langneurons.errors import InputError
from langneurons.models.checking import not_a_decoder
from langneurons.models.fingerprint import marks, sample_digest, weights_digest
from langneurons.models.layers import decoder_layers, holder
from langneurons.models.plain import plain_model, positions
from langneurons.models.sites import Sites


class LanguageModel:
    """A model as the library made it, never converted or copied; units are reached by hooks.

    Args:
        model: A Transformers decoder, also one wrapped by PEFT or with a classification head.
        tokenizer: Its tokenizer.
        name: What to call it in messages and artifacts.
        revision: Commit on the Hub, where known.

    Attributes:
        model: The model, as given.
        tokenizer: The tokenizer.
        name: The name.
        revision: The revision or None.
        backbone: The model without its head.
        decoder: The module that holds the list of layers; every forward pass calls it (OPT's head
            calls it past the backbone).
        layer_modules: The decoder layers.
        sites: The places where units live, by name.

    Raises:
        InputError: If the model is no decoder of Transformers.
    """

    def __init__(
        self, model: Any, tokenizer: Any, name: str, *, revision: str | None = None
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.revision = revision
        plain: Any = plain_model(model)
        if not hasattr(plain, "config") or not hasattr(plain, "named_modules"):
            raise InputError(
                f"{type(model).__name__} is no model of Transformers: use langneurons.load."
            )
        if "decoder_input_ids" in inspect.signature(plain.forward).parameters:
            raise not_a_decoder(name, str(plain.config.model_type), encoder=True)
        self.config = plain.config.get_text_config(decoder=True)
        self.backbone: nn.Module = _backbone(plain)
        self.layer_modules: Sequence[nn.Module] = decoder_layers(
            self.backbone, int(self.config.num_hidden_layers)
        )
        self.decoder: nn.Module = holder(self.backbone, self.layer_modules)
        self.sites = Sites(self.backbone, self.layer_modules, self.config)
        self._origin: dict[str, Any] | None = None
        self._digest: tuple[tuple[Any, ...], str, str] | None = None

    def __repr__(self) -> str:
        return f"LanguageModel({self.name!r}, {type(self.model).__name__}, {self.layers} layers)"

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(self.layer_modules)

    @property
    def device(self) -> torch.device:
        """Device of the weights (of the first, where they are spread; the CPU if it is on disk)."""
        first = next(self.backbone.parameters()).device
        return torch.device("cpu") if first.type == "meta" else first

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return next(
            (p.dtype for p in self.backbone.parameters() if p.is_floating_point()), torch.float32
        )

    @cached_property
    def positions(self) -> int | None:
        """Positions in the model's table of them; None where positions are computed."""
        return positions(self.config)

    def check_ids(self, input_ids: torch.Tensor) -> None:
        """Refuse tokens that the model cannot read, before it fails on them.

        Args:
            input_ids: int64 (b, t), as they are given to the model.

        Raises:
            InputError: If a row is longer than the model's table of positions, or a token has no
                row in its embedding.
        """
        width = input_ids.shape[-1]
        if self.positions is not None and width > self.positions:
            raise InputError(
                f"a block of {width:,} tokens is longer than the {self.positions:,} positions of "
                f"{self.name}: use a block of {self.positions:,} or less (--block, "
                "statistics.block)."
            )
        rows = self._embedding_rows
        highest = int(input_ids.max()) if input_ids.numel() else 0
        if rows is not None and highest >= rows:
            raise InputError(
                f"the text holds the token {self.tokenizer.convert_ids_to_tokens(highest)!r} "
                f"({highest}), for which the embedding of {self.name} has no row ({rows:,} rows): "
                "take it out of the text, or give the tokenizer that belongs to the model."
            )

    @cached_property
    def _embedding_rows(self) -> int | None:
        embedding = plain_model(self.model).get_input_embeddings()
        return getattr(embedding, "num_embeddings", None)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Token ids that carry no text (begin, end, padding, ...)."""
        return frozenset(int(token) for token in self.tokenizer.all_special_ids)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the model is: name, revision, digest of its content, layers, units, architecture.

        ``sha256`` is over configuration and weights, see
        :func:`langneurons.models.fingerprint.weights_digest`; computed when first asked for and
        again when a weight was written to since. A model made by :meth:`with_model` has the
        fingerprint of the model it came from.
        """
        if self._origin is not None:
            return self._origin
        return {
            "name": self.name,
            "revision": self.revision,
            "sha256": self.own_digest(),
            "layers": self.layers,
            "units": self.sites.units,
            "architecture": type(plain_model(self.model)).__name__,
        }

    def own_digest(self) -> str:
        """Digest of this model's own weights (of an adapted model: of those below the adapter)."""
        now = marks(self.backbone)
        if self._digest is None or self._digest[0] != now:
            sample = sample_digest(self.backbone, self.config)
            self._digest = (now, sample, weights_digest(self.backbone, self.config))
        return self._digest[2]

    def refresh(self, *, full: bool = False) -> None:
        """Look whether weights were changed in a way that leaves no mark (``weight.data``).

        Called before anything is measured. Compares a sample of every weight, in milliseconds.

        Args:
            full: Read every weight anew instead, so that a single changed element shows.
        """
        if self._digest is None:
            return
        if full or self._digest[1] != sample_digest(self.backbone, self.config):
            self._digest = None

    def with_model(self, model: Any) -> LanguageModel:
        """The same tokenizer and name around another model that shares the same decoder modules.

        For a PEFT-wrapped model or one with a classification head. Sites are found anew, since
        adapters may have wrapped the modules.
        """
        other = LanguageModel(model, self.tokenizer, self.name, revision=self.revision)
        other._origin = self.fingerprint
        return other


def _backbone(plain: Any) -> nn.Module:
    """The model without its head: its hidden states are all that statistics need."""
    prefix = getattr(plain, "base_model_prefix", "")
    backbone = getattr(plain, prefix, None) if prefix else None
    return backbone if isinstance(backbone, nn.Module) else plain


def wrap(model: Any, tokenizer: Any, name: str | None = None) -> LanguageModel:
    """Use a model and tokenizer already loaded; puts the model in evaluation mode, weights frozen.

    Args:
        model: A Transformers decoder.
        tokenizer: Its tokenizer.
        name: What to call it; default the name it was loaded by.

    Raises:
        InputError: If the model is no decoder of Transformers.
    """
    label = name or getattr(getattr(model, "config", None), "_name_or_path", "") or "model"
    lm = LanguageModel(model, tokenizer, label)
    model.eval().requires_grad_(False)
    return lm
