"""Neuron sets in a folder or a repository of the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from langneurons.artifacts import write_json, write_text
from langneurons.errors import InputError, RunError
from langneurons.identification.unit_sets import UnitSets

FILE_NAME = "neurons.json"


def save_pretrained(neurons: UnitSets, folder: Path) -> None:
    """Write ``neurons.json`` and a model card ``README.md`` into ``folder``."""
    write_json(folder / FILE_NAME, neurons.to_dict())
    write_text(folder / "README.md", _card(neurons))


def _card(neurons: UnitSets) -> str:
    model = str((neurons.model or {}).get("name", ""))
    head = ["library_name: langneurons", "tags:", "- language-specific-neurons"]
    # The Hub accepts only "owner/name" here; a folder or file on the author's disk says nothing.
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        head.append(f"base_model: {model}")
    rows = [f"| {language} | {size} |" for language, size in neurons.sizes().items()]
    return "\n".join(
        [
            "---",
            *head,
            "---",
            "",
            f"# Language neurons: {neurons.method}",
            "",
            f"Site `{neurons.site}`, {neurons.shape[0]} layers x {neurons.shape[1]} units.",
            "",
            "| language | units |",
            "| --- | --- |",
            *rows,
            "",
            "```python",
            "import langneurons as ln",
            "",
            'neurons = ln.NeuronSet.from_pretrained("...")  # this repository',
            "```",
            "",
        ]
    )


def push_to_hub(
    neurons: UnitSets,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload neurons",
) -> str:
    """Upload a neuron set to a model repository, made if it does not exist.

    Args:
        neurons: What to upload.
        repo_id: ``owner/name``.
        private: Visibility of a new repository; None takes the owner's default.
        revision: Branch.
        commit_message: First line of the commit.

    Returns:
        Address of the commit.

    Raises:
        InputError: If ``repo_id`` is no repository name.
        RunError: If the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        with TemporaryDirectory() as folder:
            save_pretrained(neurons, Path(folder))
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message,
            )
    except HFValidationError as error:
        raise InputError(f"{repo_id!r} is no repository name: write OWNER/NAME.") from error
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise RunError(
            f"could not upload to {repo_id!r} ({_first_line(error)}): "
            "check the network, the name and that you are logged in."
        ) from error
    return str(commit.commit_url)


def fetch(name: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """The ``neurons.json`` of a folder, or of a Hub repository.

    Raises:
        InputError: If there is no such folder or repository, or it holds no neurons.
        RunError: If the Hub cannot be reached.
    """
    folder = Path(name)
    if folder.is_dir():
        path = folder / FILE_NAME
        if not path.is_file():
            raise InputError(f"folder {str(folder)!r} holds no {FILE_NAME}: give one that does.")
        return path
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(hf_hub_download(str(name), FILE_NAME, revision=revision))
    except HFValidationError as error:
        raise InputError(
            f"{str(name)!r} is neither a folder nor a Hub repository: write OWNER/NAME."
        ) from error
    except LocalEntryNotFoundError as error:
        raise RunError(
            f"could not fetch {str(name)!r} ({_first_line(error)}): check the network."
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"no repository {str(name)!r} on the Hub: check the name.") from error
    except EntryNotFoundError as error:
        raise InputError(
            f"repository {str(name)!r} holds no {FILE_NAME}: name one with neurons."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise RunError(
            f"could not fetch {str(name)!r} ({_first_line(error)}): check the network."
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
