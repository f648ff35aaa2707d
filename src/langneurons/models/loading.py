"""Loading a model by what the user calls it."""

from __future__ import annotations

import importlib.util
import os
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from langneurons.artifacts import expanded
from langneurons.defaults import BUILT_IN
from langneurons.errors import InputError, unknown
from langneurons.models.checking import (
    check_complete,
    check_decoder,
    check_path,
    check_vocabulary,
    not_a_decoder,
)
from langneurons.models.gguf import check_header, converted, dequantised, without_bars
from langneurons.models.language_model import LanguageModel, wrap
from langneurons.models.plain import positions
from langneurons.models.precision import auto_dtype, fast_dtype

Load = Literal["nf4"]
"""Ways to make the weights smaller while they are loaded."""


def load(
    name: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    load: Load | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a decoder and its tokenizer, in evaluation mode, weights frozen.

    Args:
        name: ``"mini"`` or ``"mini-moe"`` (built in), a repository on the Hub, a local folder, a
            ``.gguf`` file, or ``"repository:file.gguf"``.
        dtype: ``"auto"``, a name such as ``"bfloat16"``, or a ``torch.dtype``. Auto is float32
            for weights stored in float32; for those of 16 bits and of GGUF files bfloat16 where
            the device multiplies it clearly faster (measured), else float32, if that fits into
            the device's memory.
        device: ``"auto"`` (an accelerator where there is one; in one of several processes its
            own), ``"balanced"`` (spread over all of
            them by Accelerate), or a device.
        load: ``"nf4"``: weights of linear layers in 4 bits (NF4 with double quantisation, as in
            arXiv 2503.17456; Dettmers et al. 2023), computed in ``dtype``; needs bitsandbytes, the
            extra ``nf4``. None: as they are.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Whether code from the repository may run.

    Raises:
        InputError: If the model cannot be had or read, is no decoder, lacks weights (Transformers
            would draw them at random) or has a tokenizer larger than its embedding; one line that
            says why.
    """
    label = str(name)
    check_way(load)
    place, options = _place(label, revision, trust_remote_code)
    gguf = label.lower().endswith(".gguf")
    model, tokenizer = _from_pretrained(label, place, _dtype(dtype), device, options, gguf, load)
    # A local model goes by its own name: where it lies on this machine is nobody's business.
    local = label not in BUILT_IN and expanded(label).exists()
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
    label = str(name)
    place, options = _place(label, revision, trust_remote_code=False)
    return _tokenizer(label, place, options)


def _tokenizer(label: str, place: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    # For some families Transformers makes an empty one, for others it speaks of packages.
    if Path(place).is_dir() and not _has_tokenizer(Path(place)):
        raise InputError(
            f"the folder {label!r} holds no tokenizer: put the model's own there "
            "(tokenizer.save_pretrained writes it)."
        )
    try:
        with without_bars():
            return AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:
        raise _cannot_load(label, place, error) from error


def _has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a file that any tokenizer is read from."""
    words = ("token", "vocab", "spiece", "sentencepiece", "merges")
    return any(word in item.name.lower() for item in folder.iterdir() for word in words)


def check(
    name: str | Path, *, revision: str | None = None, trust_remote_code: bool = False
) -> int | None:
    """Refuse what :func:`load` would refuse, as far as can be seen without weights or network.

    Configuration and tokenizer are read where they lie here (a folder, the Hub's cache); of a
    ``.gguf`` file that was never read only the first bytes.

    Args:
        name: As for :func:`load`.
        revision: As for :func:`load`.
        trust_remote_code: As for :func:`load`.

    Returns:
        Positions in the model's table of them, None where it has none or it is not at hand.

    Raises:
        InputError: As :func:`load`.
    """
    from transformers import AutoConfig

    label = str(name)
    path = expanded(label)
    if path.suffix.lower() == ".gguf" and (path.is_file() or ":" in label):
        if path.is_file():
            check_header(path)
        return None
    place, options = _place(label, revision, trust_remote_code)
    local = Path(place).is_dir()
    options["local_files_only"] = True
    try:
        config = AutoConfig.from_pretrained(place, **options)
    except Exception as error:
        if local or (isinstance(error, ValueError) and "trust_remote_code" in str(error)):
            raise _cannot_load(label, place, error) from error
        return None  # not in the Hub's cache: nothing is known yet
    if not trust_remote_code:
        check_decoder(config, label)
    if local:
        rows = getattr(config.get_text_config(decoder=True), "vocab_size", None)
        check_vocabulary(_tokenizer(label, place, options), rows, label)
    return positions(config.get_text_config(decoder=True))


def configuration(name: str | Path, *, revision: str | None = None) -> Any:
    """The decoder's configuration where it lies here (a folder, the Hub's cache), else None.

    Of a ``.gguf`` file only that of its converted copy, once there is one.

    Args:
        name: As for :func:`load`.
        revision: As for :func:`load`.
    """
    from transformers import AutoConfig

    path = expanded(name)
    try:
        if path.suffix.lower() == ".gguf":
            place = converted(path)
            if place is None:
                return None
        else:
            place = Path(_locate(str(name), revision)[0])
        found = AutoConfig.from_pretrained(
            str(place), revision=revision, local_files_only=True, trust_remote_code=False
        )
    except Exception:  # whatever is wrong is said when the model is loaded
        return None
    return found.get_text_config(decoder=True)


def auto_name(
    name: str | Path, *, revision: str | None = None, device: str | torch.device = "auto"
) -> str:
    """The name of the dtype that :func:`load` takes for ``"auto"`` on this machine.

    Args:
        name: As for :func:`load`; of a model on the Hub the configuration is fetched.
        revision: As for :func:`load`.
        device: As for :func:`load`.

    Returns:
        Such as ``"float32"``; ``"auto"`` where that shows only when the model is loaded.
    """
    from transformers import AutoConfig

    where = _device("auto" if device == "balanced" else device)
    label = str(name)
    if label.lower().endswith(".gguf"):
        return str(fast_dtype(where)).removeprefix("torch.")
    try:
        place, options = _place(label, revision, trust_remote_code=False)
        config = AutoConfig.from_pretrained(place, **options)
    except Exception:  # whatever is wrong is said when the model is loaded
        return "auto"
    found = auto_dtype(config, where)
    if found == "auto" and getattr(config, "quantization_config", None) is None:
        found = getattr(config, "dtype", None) or "auto"
    return str(found).removeprefix("torch.")


def _place(label: str, revision: str | None, trust_remote_code: bool) -> tuple[str, dict[str, Any]]:
    """Folder or repository, and what ``from_pretrained`` has to be told about it."""
    place, fixed = _locate(label, revision)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if fixed is not None:
        options["revision"] = fixed
    if not Path(place).is_dir() and hub_unresolved():
        options["local_files_only"] = True
    return place, options


def _locate(name: str, revision: str | None) -> tuple[str, str | None]:
    """What ``from_pretrained`` is to read: (folder or repository, revision)."""
    if name in BUILT_IN:
        from langneurons import mini

        return str(mini.model_path(name)), None
    path = expanded(name)
    if path.is_dir():
        _check_folder(name, path)
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
    check_path(name)
    return name, revision


def _check_folder(name: str, path: Path) -> None:
    if (path / "adapter_config.json").is_file():
        import json

        try:
            base = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
            of = base.get("base_model_name_or_path")
        except (ValueError, AttributeError):
            of = None
        raise InputError(
            f"the folder {name!r} holds an adapter, no model: give the model it was trained on"
            + (f" ({of})" if of else "")
            + ", and this folder as the adapter (--adapter, or langneurons.load_adapter)."
        )
    if not (path / "config.json").is_file():
        raise InputError(f"the folder {name!r} holds no config.json: give a model's folder.")


def hub_unresolved() -> bool:
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
    gguf: bool,
    load: Load | None,
) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM

    spread: dict[str, Any] = {"device_map": "balanced"} if device == "balanced" else {}
    where = None if spread else _device(device)
    try:
        config = AutoConfig.from_pretrained(place, **options)
    except Exception as error:
        raise _cannot_load(label, place, error) from error
    # A wrong kind of model says so, rather than that its tokenizer lacks a package.
    if Path(place).is_dir() and not options["trust_remote_code"]:
        check_decoder(config, label)
    if dtype == "auto":
        dtype = auto_dtype(config, _device("auto" if spread else device), quantised_file=gguf)
    if load is not None:
        if getattr(config, "quantization_config", None) is not None:
            raise InputError(f"{label!r} is stored quantised: leave out load={load!r}.")
        if dtype == "auto":
            dtype = getattr(config, "dtype", None) or torch.float32
        spread |= {
            "quantization_config": _nf4(dtype),
            **({} if where is None else {"device_map": {"": where}}),
        }
    tokenizer = _tokenizer(label, place, options)
    try:
        with without_bars():
            model, info = AutoModelForCausalLM.from_pretrained(
                place, dtype=dtype, output_loading_info=True, **spread, **options
            )
    except Exception as error:
        raise _cannot_load(label, place, error) from error
    check_complete(info, label)
    check_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0], label)
    return (model if where is None or load else model.to(where)), tokenizer


def check_way(load: str | None) -> None:
    """Refuse a way of loading that there is not, or that needs a package that is not installed.

    Raises:
        InputError: Naming the package.
    """
    if load is None:
        return
    if load not in get_args(Load):
        raise unknown("way to load", load, get_args(Load))
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"load={load!r} needs the package bitsandbytes: install langneurons with the extra "
            "[nf4] (pip install 'langneurons[nf4]')."
        )


def _nf4(dtype: str | torch.dtype) -> Any:
    """The paper's 4 bits: NF4, double quantisation."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _fetch(repository: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(
            hf_hub_download(repository, file, revision=revision, local_files_only=hub_unresolved())
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
    words = str(error)
    if "trust_remote_code" in words:
        return InputError(
            f"{label!r} brings Python code of its own: read it, and if you trust it let it run "
            "(--trust-remote-code, or trust_remote_code=True)."
        )
    if "Unrecognized configuration class" in words:
        kind = words.partition("configuration_")[2].partition(".")[0] or "other"
        return not_a_decoder(label, kind)
    reason = " ".join(words.split())[:300] or type(error).__name__
    return InputError(f"cannot load the model {label!r} ({reason}): check its files.")
