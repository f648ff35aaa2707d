"""Sparse autoencoders in the form and on-disk format of SAELens.

With x an activation, z its features and x' the reconstruction,

    z = act((x - b_dec) W_enc + b_enc),    x' = z W_dec + b_dec

========= =================================== =====================================
kind      act(p)                              source
========= =================================== =====================================
topk      max(p, 0) on the k largest p, or 0  Gao et al. 2024, arXiv 2406.04093
jumprelu  p where p > threshold, or 0         Rajamanoharan et al. 2024, 2407.14435
standard  max(p, 0)                           Bricken et al. 2023; loaded, not trained
========= =================================== =====================================

A folder holds ``cfg.json`` and ``sae_weights.safetensors``, as ``SAE.load_from_disk`` of SAELens
6 reads and ``save_model`` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from langneurons.artifacts import atomic_path, read_json, write_json
from langneurons.errors import ArtifactError, InputError, unknown
from langneurons.features.layouts import configuration, own_layout, weights

KINDS = ("topk", "jumprelu", "standard")
CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
_NORMALISED = ("none", "expected_average_only_in")  # the latter is folded into the weights


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A trained sparse autoencoder; d activations, m features.

    Attributes:
        kind: One of :data:`KINDS`.
        w_enc: float32 (d, m).
        b_enc: float32 (m,).
        w_dec: float32 (m, d).
        b_dec: float32 (d,).
        threshold: float32 (m,), of ``jumprelu``.
        k: Features per token, of ``topk``.
        centred: Whether b_dec is taken off the input.
        by_norm: Whether the k are chosen by p times the norm of the decoder's row.
        about: Free facts: model, site, layer, training.
    """

    kind: str
    w_enc: Tensor
    b_enc: Tensor
    w_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    k: int | None = None
    centred: bool = True
    by_norm: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Activations it reads."""
        return int(self.w_enc.shape[0])

    @property
    def features(self) -> int:
        """Features it has."""
        return int(self.w_enc.shape[1])

    def encode(self, x: Tensor) -> Tensor:
        """Features of activations (..., d): float32 (..., m), 0 where one is off."""
        centred = x.float() - self.b_dec if self.centred else x.float()
        before = centred @ self.w_enc + self.b_enc
        if self.kind == "topk":
            assert self.k is not None
            norms = self.w_dec.norm(dim=-1)
            ranked = before * norms if self.by_norm else before
            best = ranked.topk(min(self.k, self.features), dim=-1)
            values = best.values.relu()
            kept = torch.zeros_like(before).scatter_(-1, best.indices, values)
            return kept / norms if self.by_norm else kept
        if self.kind == "jumprelu":
            assert self.threshold is not None
            return before.relu() * (before > self.threshold)
        return before.relu()

    def decode(self, z: Tensor) -> Tensor:
        """Reconstruction of features (..., m): float32 (..., d)."""
        return z @ self.w_dec + self.b_dec

    def to(self, device: torch.device) -> Autoencoder:
        """The same on a device."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        threshold = None if self.threshold is None else self.threshold.to(device)
        return replace(self, **moved, threshold=threshold)

    def save(self, folder: Path) -> None:
        """Write ``cfg.json`` and ``sae_weights.safetensors``."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {_TENSORS[name]: getattr(self, name).contiguous() for name in _TENSORS}
        if self.threshold is not None:
            tensors["threshold"] = self.threshold.contiguous()
        with atomic_path(folder / WEIGHTS) as path:
            save_file(tensors, path)
        write_json(
            folder / CONFIG,
            {
                "architecture": self.kind,
                "d_in": self.width,
                "d_sae": self.features,
                "dtype": "float32",
                "device": "cpu",
                "apply_b_dec_to_input": self.centred,
                "normalize_activations": "none",
                "reshape_activations": "none",
                **({"k": self.k, "rescale_acts_by_decoder_norm": self.by_norm}
                   if self.kind == "topk" else {}),
                "metadata": self.about,
            },
        )  # fmt: skip

    @classmethod
    def load(cls, folder: str | Path) -> Autoencoder:
        """Read a folder in SAELens's format, of today or of its first versions.

        Gemma Scope 2 and Qwen-Scope are read in their own, see :mod:`langneurons.features.layouts`.

        Raises:
            InputError: If it is none, or of an architecture, activation or scaling not known here.
            ArtifactError: If the files do not fit together.
        """
        place = Path(folder)
        config = read_config(place)
        try:
            stored = weights(place) if own_layout(place) else load_file(place / WEIGHTS)
            tensors = {name: item.float() for name, item in stored.items()}
            tensors = _scaled(tensors, bool(config.get("finetuning_scaling_factor")), place)
            kind, k = kind_of(config, place)
            odd = sorted(set(tensors) - {*_TENSORS.values(), "threshold"})
            if odd:
                raise InputError(
                    f"{str(place)!r} holds weights that no kind known here has ({', '.join(odd)}): "
                    f"give one of the kinds {', '.join(KINDS)}."
                )
            found = cls(
                kind,
                tensors["W_enc"],
                tensors["b_enc"],
                tensors["W_dec"],
                tensors["b_dec"],
                threshold=tensors["threshold"] if kind == "jumprelu" else None,
                k=k,
                centred=bool(config.get("apply_b_dec_to_input", True)),
                by_norm=bool(config.get("rescale_acts_by_decoder_norm", False)),
                about=dict(config.get("metadata") or {}),
            )
        except (KeyError, SafetensorError) as error:
            raise ArtifactError(f"{str(place)!r} is damaged ({error}): fetch it again.") from error
        if found.w_dec.shape != found.w_enc.T.shape:
            raise ArtifactError(
                f"{str(place)!r} is damaged, encoder and decoder do not fit: fetch it again."
            )
        return found


def read_config(place: Path) -> dict[str, Any]:
    """The configuration of a folder in SAELens's format, its kind and scaling checked.

    Raises:
        InputError: If it is no such folder, or of an architecture, activation or input scaling not
            known here.
    """
    if own_layout(place):
        found = configuration(place)
        kind_of(found, place)
        return found
    if not (place / CONFIG).is_file() or not (place / WEIGHTS).is_file():
        raise InputError(
            f"{str(place)!r} is no sparse autoencoder of SAELens: {CONFIG} or {WEIGHTS} is "
            "missing; give the folder that holds both."
        )
    config = read_json(place / CONFIG)
    kind_of(config, place)
    scaled = config.get("normalize_activations", "none")
    if scaled not in _NORMALISED or config.get("reshape_activations", "none") != "none":
        raise InputError(
            f"{str(place)!r} scales or reshapes its input ({scaled}, "
            f"{config.get('reshape_activations', 'none')}), which is not supported: fold it "
            "into the weights with SAELens first."
        )
    return config


def kind_of(config: Mapping[str, Any], place: Path) -> tuple[str, int | None]:
    """Kind and k of an autoencoder by its configuration.

    SAELens's first versions called every kind but the gated one ``standard`` and named the
    activation apart.

    Raises:
        InputError: If kind or activation is not known here, or a ``topk`` says no k.
    """
    kind = str(config.get("architecture", "standard"))
    activation = str(config.get("activation_fn_str") or config.get("activation_fn") or "relu")
    if kind == "standard" and activation == "topk":
        kind = "topk"
    elif kind not in KINDS:
        raise unknown("architecture of a sparse autoencoder", kind, KINDS)
    elif kind == "standard" and activation != "relu":
        raise InputError(
            f"{str(place)!r} has the activation {activation!r}, which is not known here: give one "
            "with relu or topk."
        )
    if kind != "topk":
        return kind, None
    k = config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    if k is None:
        raise InputError(f'{str(place)!r} does not say its k: write "k" into its {CONFIG}.')
    return kind, int(k)


def _scaled(tensors: dict[str, Tensor], used: bool, place: Path) -> dict[str, Tensor]:
    """Fold the factors by which some autoencoders scale features before the decoder into it."""
    names = [name for name in ("finetuning_scaling_factor", "scaling_factor") if name in tensors]
    rest = {name: item for name, item in tensors.items() if name not in names}
    for name in names:
        if used:
            rest["W_dec"] = rest["W_dec"] * tensors[name][:, None]
        elif bool((tensors[name] != 1).any()):
            raise InputError(
                f"{str(place)!r} holds factors of its features ({name}) and does not say whether "
                "they count: set finetuning_scaling_factor in its "
                f"{CONFIG} to true, or take them out."
            )
    return rest


_TENSORS = {"w_enc": "W_enc", "b_enc": "b_enc", "w_dec": "W_dec", "b_dec": "b_dec"}
