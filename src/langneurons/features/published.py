"""Published autoencoders held against model and layers, before they are used."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from langneurons.artifacts import expanded
from langneurons.errors import ArtifactError, InputError
from langneurons.features.autoencoder import WEIGHTS, Autoencoder, read_config
from langneurons.features.layouts import own_layout, weights

_HOOKS = {
    "hook_resid_post": ("resid", 0),
    "hook_resid_pre": ("resid", -1),  # the stream before a layer is that behind the one before
    "mlp.hook_post": ("mlp.out", 0),
    "attn.hook_z": ("attn.out", 0),
}
"""Names of TransformerLens for what is one of our sites, and the layer beside theirs."""


def folders(path: str, layers: Sequence[int]) -> dict[int, Path]:
    """Folder of each layer's autoencoder.

    Raises:
        InputError: If one folder is given for several layers.
    """
    if "{layer}" not in path and len(layers) > 1:
        raise InputError(
            f"{path!r} is one folder for the layers {', '.join(map(str, layers))}: write {{layer}} "
            "where the layer's number stands, or give one layer."
        )
    return {layer: expanded(path.replace("{layer}", str(layer))) for layer in layers}


def check_published(
    path: str,
    layers: Sequence[int],
    site: str,
    *,
    width: int | None = None,
    model: str | None = None,
) -> None:
    """Hold what published autoencoders say of themselves against what they are to be used on.

    Only configurations and the headers of weights are read.

    Args:
        path: Folder, ``{layer}`` in it.
        layers: Layers of the model.
        site: Site of the model.
        width: Activations at the site, where known.
        model: The model's name, where known; another name in a configuration is a warning, since
            models are often called otherwise than their autoencoders' base.

    Raises:
        InputError: If one cannot be read here, reads another layer or site, or has another width.
        ArtifactError: If one is damaged.
    """
    for layer, place in folders(path, layers).items():
        config = read_config(place)
        about = {**config, **(config.get("metadata") or {})}
        _check_hook(about, layer, site, place)
        found = _width(place)
        if config.get("d_in") is not None and int(config["d_in"]) != found:
            raise ArtifactError(
                f"{str(place)!r} is damaged: its weights read {found} activations, its "
                f"configuration says {config['d_in']}; fetch it again."
            )
        if width is not None and found != width:
            raise InputError(
                f"{str(place)!r} reads {found} activations, {site!r} of the model has {width}: "
                "take one trained on this model and site."
            )
        said = about.get("model_name")
        if said and model and _plain(str(said)) != _plain(model):
            warnings.warn(
                f"{str(place)!r} was trained on {str(said)!r}, not on {model!r}: its features mean "
                "something only if one is the other, or made from it.",
                stacklevel=2,
            )


def load_published(
    path: str, layers: Sequence[int], site: str, *, width: int, model: str
) -> dict[int, Autoencoder]:
    """Layer to autoencoder, after :func:`check_published`."""
    check_published(path, layers, site, width=width, model=model)
    return {layer: Autoencoder.load(place) for layer, place in folders(path, layers).items()}


def _check_hook(about: Mapping[str, Any], layer: int, site: str, place: Path) -> None:
    name = str(about.get("hook_name") or about.get("hook_point") or "")
    said = about.get("hook_layer", about.get("layer"))
    where = re.fullmatch(r"blocks\.(\d+)\.(?:(\d+)\.)?(.+)", name)
    if about.get("hook_head_index") is not None:
        raise InputError(
            f"{str(place)!r} reads one attention head ({name}), which is no site: give another."
        )
    if where is not None:
        if where[3] not in _HOOKS:
            raise InputError(
                f"{str(place)!r} reads {name}, which is no site: give one of {', '.join(_HOOKS)}."
            )
        own, shift = _HOOKS[where[3]]
        at: int | None = int(where[1]) + shift
    elif (ours := re.fullmatch(r"([a-z.]+)\.(\d+)", name)) is not None and "layers" not in name:
        own, at = ours[1], int(ours[2])
    else:
        own, at = site, None if said is None else int(said)
    if own != site or (at is not None and at != layer):
        there = f"{own!r} of layer {at}" if at is not None else repr(own)
        raise InputError(
            f"{str(place)!r} reads {there}{f' ({name})' if name else ''}, not {site!r} of layer "
            f"{layer}: give the layer and site it was trained on."
        )


def _width(place: Path) -> int:
    if own_layout(place):
        return int(weights(place)["W_enc"].shape[0])
    try:
        with safe_open(place / WEIGHTS, "pt") as file:
            return int(file.get_slice("W_enc").get_shape()[0])
    except SafetensorError as error:
        raise ArtifactError(f"{str(place)!r} is damaged ({error}): fetch it again.") from error


def _plain(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()
