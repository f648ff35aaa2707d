"""Published suites of autoencoders in layouts of their own, told in SAELens's words.

============= ==================================================== ==========================
suite         files                                                form
============= ==================================================== ==========================
Gemma Scope 2 ``config.json`` and ``params.safetensors`` (w_enc,   jumprelu, b_dec not taken
              w_dec, b_enc, b_dec, threshold) in a folder a layer  off the input
Qwen-Scope    ``layer5.sae.pt`` (W_enc (m, d), W_dec (d, m),       topk, b_dec not taken off;
              b_enc, b_dec) in a folder whose name ends in L0_k    k by the folder's name
============= ==================================================== ==========================

Transcoders read the input of an MLP, which is no site, and write its output: they are refused.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from langneurons.artifacts import read_json
from langneurons.errors import ArtifactError, InputError

PARAMS = "params.safetensors"
_POINTS = {"output": "resid", "self_attn.o_proj.input": "attn.out"}
"""What Gemma Scope 2 calls our sites, behind ``model.layers.N.``."""


def own_layout(place: Path) -> bool:
    """Whether a path is of one of these suites."""
    return place.name.endswith(".sae.pt") or (place / PARAMS).is_file()


def configuration(place: Path) -> dict[str, Any]:
    """What SAELens's configuration would say.

    Raises:
        InputError: If it is a transcoder, reads what is no site, or does not say its k.
    """
    if place.is_dir():
        return _gemma(place)
    layer = re.fullmatch(r"layer(\d+)\.sae\.pt", place.name)
    k = re.search(r"L0_(\d+)", place.parent.name)
    if layer is None or k is None:
        raise InputError(
            f"{str(place)!r} does not say its layer and k: use the names of Qwen-Scope, "
            "SAE-Res-MODEL-L0_50/layer5.sae.pt."
        )
    return {
        "architecture": "topk",
        "k": int(k[1]),
        "apply_b_dec_to_input": False,
        "hook_name": f"resid.{layer[1]}",
    }


def _gemma(place: Path) -> dict[str, Any]:
    about = read_json(place / "config.json") if (place / "config.json").is_file() else {}
    kind = str(about.get("architecture", "jump_relu"))
    point = str(about.get("hf_hook_point_in") or "")
    to = str(about.get("hf_hook_point_out") or point)
    if to != point:
        raise InputError(
            f"{str(place)!r} is a transcoder, from {point} to {to}, which is no site: give an "
            "autoencoder of the residual stream."
        )
    found = re.fullmatch(r"model\.(?:language_model\.)?layers\.(\d+)\.(.+)", point)
    if point and (found is None or found[2] not in _POINTS):
        raise InputError(
            f"{str(place)!r} reads {point}, which is no site: give one of the residual stream."
        )
    return {
        "architecture": "jumprelu" if kind == "jump_relu" else kind,
        "apply_b_dec_to_input": False,
        **({} if found is None else {"hook_name": f"{_POINTS[found[2]]}.{found[1]}"}),
        **({"model_name": about["model_name"]} if about.get("model_name") else {}),
    }


def weights(place: Path) -> dict[str, Tensor]:
    """Weights by SAELens's names, in its orientation, as stored.

    Raises:
        InputError: If there is no such file, or it is a transcoder.
        ArtifactError: If it is damaged.
    """
    try:
        if place.is_dir():
            names = {"w_enc": "W_enc", "w_dec": "W_dec"}
            found = {names.get(key, key): item for key, item in load_file(place / PARAMS).items()}
            if "affine_skip_connection" in found:
                raise InputError(
                    f"{str(place)!r} is a transcoder (it holds affine_skip_connection): give an "
                    "autoencoder of the residual stream."
                )
            return found
        read = torch.load(place, map_location="cpu", weights_only=True)
        return {name: item.T if name in ("W_enc", "W_dec") else item for name, item in read.items()}
    except FileNotFoundError as error:
        raise InputError(f"no file {str(place)!r}: check the path.") from error
    except (SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ArtifactError(f"{str(place)!r} is damaged ({reason}): fetch it again.") from error
