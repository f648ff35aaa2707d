"""Commits of what a study reads from the Hub: looked up once, then written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from langneurons.artifacts import read_json, write_json
from langneurons.errors import LangNeuronsError

_SECONDS = 10.0


def read(out: Path) -> dict[str, str]:
    """Commits that a run directory has written down; empty where it has none."""
    try:
        return {str(name): str(sha) for name, sha in read_json(_path(out))["commits"].items()}
    except (LangNeuronsError, KeyError, AttributeError):
        return {}


def write(out: Path, commits: Mapping[str, str]) -> None:
    """Write commits down, so that going on later reads the same."""
    if commits:
        write_json(_path(out), {"commits": dict(commits)})


def _path(out: Path) -> Path:
    return out / ".stages" / "hub" / "commits.json"


def resolve(
    names: Iterable[tuple[str, str, str | None]], known: Mapping[str, str]
) -> dict[str, str]:
    """The commit of each repository.

    Args:
        names: Kind (``"model"`` or ``"dataset"``), repository and revision of each.
        known: Commits already written down; they are not looked up again.

    Returns:
        ``KIND:REPOSITORY@REVISION`` to its commit. One that neither the Hub nor the local cache
        knows is left out: its name then stands for it.
    """
    found: dict[str, str] = {}
    for kind, repository, revision in names:
        label = name(kind, repository, revision)
        sha = known.get(label) or _from_hub(kind, repository, revision)
        sha = sha or _from_cache(kind, repository, revision)
        if sha is not None:
            found[label] = sha
    return found


def name(kind: str, repository: str, revision: str | None = None) -> str:
    """What a repository is called among the commits."""
    return f"{kind}:{repository}@{revision or 'main'}"


def _from_hub(kind: str, repository: str, revision: str | None) -> str | None:
    from huggingface_hub import HfApi, constants

    from langneurons.models.loading import hub_unresolved

    if constants.HF_HUB_OFFLINE or hub_unresolved():
        return None
    try:
        info = HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=_SECONDS)
    except Exception:  # the library raises errors of several others; the cache may still know
        return None
    return str(info.sha) if info.sha else None


def _from_cache(kind: str, repository: str, revision: str | None) -> str | None:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type=kind)
    wanted = revision or "main"
    if (folder / "snapshots" / wanted).is_dir():
        return wanted
    reference = folder / "refs" / wanted
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None
