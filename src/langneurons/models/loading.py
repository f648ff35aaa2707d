"""Loading a model by what the user calls it."""

from __future__ import annotations

import os
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import torch

from langneurons.errors import InputError
from langneurons.models.gguf import dequantised, without_bars
from langneurons.models.language_model import LanguageModel, wrap

MINI = "mini"


def load(
    name: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a decoder and its tokenizer, in evaluation mode, weights frozen.

    Args:
        name: ``"mini"`` (the built-in model), a repository on the Hub, a local folder, a ``.gguf``
            file, or ``"repository:file.gguf"``.
        dtype: ``"auto"`` (as stored; float32 for GGUF), a name such as ``"bfloat16"``, or a
            ``torch.dtype``.
        device: ``"auto"`` (an accelerator where there is one; in one of several processes its
            own), ``"balanced"`` (spread over all of
            them by Accelerate), or a device.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Whether code from the repository may run.

    Raises:
        InputError: If the model cannot be had or read; one line that says why.
    """
    label = str(name)
    place, options = _place(label, revision, trust_remote_code)
    model, tokenizer = _from_pretrained(label, place, _dtype(dtype), device, options)
    # A local model goes by its own name: where it lies on this machine is nobody's business.
    local = label != MINI and Path(label).expanduser().exists()
    lm = wrap(model, tokenizer, name=Path(label).resolve().name if local else label)
    lm.revision = getattr(model.config, "_commit_hash", None) or options.get("revision")
    return lm


def load_tokenizer(name: str | Path, *, revision: str | None = None) -> Any:
    """Load a model's tokenizer without its weights.

    Args:
        name: As for :func:`load`.
        revision: Branch, tag or commit on the Hub.

    Raises:
        InputError: If the tokenizer cannot be had or read; one line that says why.
    """
    from transformers import AutoTokenizer

    label = str(name)
    place, options = _place(label, revision, trust_remote_code=False)
    try:
        with without_bars():
            return AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:
        raise _cannot_load(label, place, error) from error


def _place(label: str, revision: str | None, trust_remote_code: bool) -> tuple[str, dict[str, Any]]:
    """Folder or repository, and what ``from_pretrained`` has to be told about it."""
    place, fixed = _locate(label, revision)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if fixed is not None:
        options["revision"] = fixed
    if not Path(place).is_dir() and _hub_unresolved():
        options["local_files_only"] = True
    return place, options


def _locate(name: str, revision: str | None) -> tuple[str, str | None]:
    """What ``from_pretrained`` is to read: (folder or repository, revision)."""
    if name == MINI:
        from langneurons import mini

        return str(mini.model_path()), None
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"the folder {name!r} holds no config.json: give a model's folder.")
        return str(path), None
    if path.suffix.lower() == ".gguf":
        if path.is_file():
            return str(dequantised(path)), None
        repository, _, file = name.rpartition(":")
        if repository:
            return str(dequantised(_fetch(repository, file, revision))), None
        raise InputError(f"no file {name!r}: check the path.")
    if path.is_file():
        raise InputError(f"{name!r} is a file: give a model folder or a .gguf file.")
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise InputError(f"no folder {name!r}: give a model folder, a .gguf file or a Hub name.")
    return name, revision


def _hub_unresolved() -> bool:
    """Whether the Hub's name cannot be looked up: then there is no use in minutes of retries."""
    from huggingface_hub import constants

    if any(urllib.request.getproxies().get(kind) for kind in ("http", "https", "all")):
        return False
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        return True
    return False


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if dtype == "auto" or isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f"unknown dtype {dtype!r}: use 'auto', 'float32', 'bfloat16', 'float16'.")
    return found


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None:
            return torch.device("cpu")
        # Each process that `accelerate launch` or `torchrun` starts has a device of its own.
        rank = os.environ.get("LOCAL_RANK")
        return accelerator if rank is None else torch.device(accelerator.type, int(rank))
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"no device {str(device)!r} here: use 'auto', 'cpu' or one that PyTorch lists."
        ) from error


def _from_pretrained(
    label: str,
    place: str,
    dtype: str | torch.dtype,
    device: str | torch.device,
    options: dict[str, Any],
) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spread: dict[str, Any] = {"device_map": "balanced"} if device == "balanced" else {}
    where = None if spread else _device(device)
    try:
        with without_bars():
            tokenizer = AutoTokenizer.from_pretrained(place, **options)
            model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **spread, **options)
    except Exception as error:
        raise _cannot_load(label, place, error) from error
    return (model if where is None else model.to(where)), tokenizer


def _fetch(repository: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(
            hf_hub_download(repository, file, revision=revision, local_files_only=_hub_unresolved())
        )
    except Exception as error:
        raise _cannot_load(f"{repository}:{file}", repository, error) from error


def _cannot_load(label: str, place: str, error: Exception) -> InputError:
    """One line for whatever went wrong below ``from_pretrained``; it has no error of its own."""
    from huggingface_hub import errors as hub

    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    local = Path(place).is_dir()

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(item, kinds) for item in chain)

    if caused_by(hub.GatedRepoError):
        return InputError(
            f"{label!r} is gated: accept its terms on the Hub and log in with `hf auth login`."
        )
    if caused_by(hub.RepositoryNotFoundError, hub.HFValidationError):
        return InputError(
            f"no model {label!r} on the Hub and no such folder: check the name (private models "
            "need `hf auth login`)."
        )
    if caused_by(hub.RevisionNotFoundError, hub.RemoteEntryNotFoundError):
        return InputError(
            f"the Hub has {label!r}, but not this revision or file: check its list of files."
        )
    network = (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, hub.HfHubHTTPError)
    unreachable = any(
        type(item).__module__.split(".")[0] in ("httpx", "httpcore", "requests", "urllib3")
        for item in chain
    )
    if not local and (unreachable or caused_by(*network, ConnectionError, TimeoutError)):
        return InputError(
            f"cannot reach the Hub for {label!r}, and it is not in the local cache: check the "
            "network or give a local folder or .gguf file."
        )
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return InputError(f"cannot load the model {label!r} ({reason}): check its files.")
