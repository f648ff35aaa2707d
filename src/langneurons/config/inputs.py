"""What a study reads from outside its run directory, and the content identity of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from langneurons.artifacts import digest, expanded, file_digest
from langneurons.config.schema import StudyConfig
from langneurons.data import iter_texts
from langneurons.defaults import BUILT_IN
from langneurons.errors import InputError, LangNeuronsError
from langneurons.interface.context import Identity
from langneurons.interface.workshop import Texts
from langneurons.models.checking import check_path
from langneurons.provenance import hub

if TYPE_CHECKING:
    from langneurons.data.tasks import Task

_NONE: Mapping[str, str] = MappingProxyType({})

# The built-in world makes text without end; this many times the tokens asked for are made, so
# that the held-out share is large enough.
_MINI_TOKENS = 1.6

# No tokenizer in use makes tokens longer than this on average.
_CHARACTERS_PER_TOKEN = 8


def sources_of(config: StudyConfig, language: str) -> list[str]:
    """Where a language's text comes from: the study's own words, ``{lang}`` filled in."""
    given = config.text[language] if isinstance(config.text, dict) else config.text
    sources = [given] if isinstance(given, str) else given
    return [source.replace("{lang}", language) for source in sources]


def read(config: StudyConfig, language: str) -> Texts:
    """Read one language's documents and keep the held-out share apart.

    The split goes by position (so that parallel texts split alike in every language), and a
    document that occurs twice follows its first occurrence, so that no held-out document is seen
    by the statistics.

    Raises:
        InputError: If the source cannot be read, is empty, or is too short to split.
    """
    sources = sources_of(config, language)
    if sources == ["mini"]:
        from langneurons import mini

        if language not in mini.LANGUAGES:
            raise InputError(
                f"the built-in world has no language {language!r} (it has "
                f"{', '.join(mini.LANGUAGES)}): give a text of your own, --text {language}=PATH."
            )
        kept = mini.text(
            language, tokens=int(config.statistics.tokens * _MINI_TOKENS), seed=config.seed
        )
        wanted = config.perplexity.tokens if config.perplexity else 10_000
        held = mini.text(
            language, tokens=int(wanted * _MINI_TOKENS), seed=config.seed, split="heldout"
        )
        return Texts(kept, held)
    try:
        documents = [text for source in sources for text in _enough(config, source)]
    except LangNeuronsError as error:
        raise InputError(f"text of {language}: {error}") from error
    block = config.statistics.block
    characters = sum(len(text) for text in documents)
    if characters < block:
        raise InputError(
            f"text of {language} ({', '.join(sources)}) has {characters} characters, less than one "
            f"block of {block} tokens: give more text, or lower statistics.block."
        )
    return split(documents, config.held_out, language)


def _enough(config: StudyConfig, source: str) -> Iterator[str]:
    """Documents of one source, as many as the study can use: a Hub dataset is never read whole."""
    wanted = config.statistics.tokens / (1 - config.held_out)
    if config.perplexity:
        wanted = max(wanted, config.perplexity.tokens / config.held_out)
    left = wanted * _CHARACTERS_PER_TOKEN
    for text in iter_texts(source, field=config.field):
        yield text
        left -= len(text)
        if left <= 0:
            return


def split(documents: Sequence[str], share: float, language: str) -> Texts:
    """Hold out every n-th document, n = 1 / share, duplicates following their first occurrence.

    Raises:
        InputError: If there are fewer than two distinct documents.
    """
    every = max(round(1 / share), 2)
    first: dict[str, int] = {}
    kept: list[str] = []
    held: list[str] = []
    for position, text in enumerate(documents):
        start = first.setdefault(text, position)
        (held if start % every == every - 1 else kept).append(text)
    if not held:
        raise InputError(
            f"text of {language} has {len(first)} different document(s), too few to hold one in "
            f"{every} out for perplexity: give at least {every} (a paragraph a line)."
        )
    return Texts(kept, held)


def identify(
    config: StudyConfig, texts: Mapping[str, Texts], commits: Mapping[str, str] = _NONE
) -> Identity:
    """Content identities of model, texts and tasks, without loading the model.

    Args:
        config: The study.
        texts: Documents of every language.
        commits: Commits of what is read from the Hub, as :func:`hub.resolve` gives them.
    """
    kept = {lang: digest(text.statistics) for lang, text in texts.items()}
    held = {lang: digest(text.held_out) for lang, text in texts.items()}
    return _identity(config, kept, held, commits)


def identify_names(config: StudyConfig) -> Identity:
    """Identities with the names of texts on the Hub for their content; texts here are read."""
    kept, held = {}, {}
    for lang in config.languages:
        sources = sources_of(config, lang)
        if any(source.startswith("hub:") for source in sources):
            kept[lang] = held[lang] = digest(sources)
        else:
            texts = read(config, lang)
            kept[lang], held[lang] = digest(texts.statistics), digest(texts.held_out)
    return _identity(config, kept, held, _NONE)


def _identity(
    config: StudyConfig,
    texts: Mapping[str, str],
    held_out: Mapping[str, str],
    commits: Mapping[str, str],
) -> Identity:
    tasks = {name: task_identity(spec.source or name, commits, **spec.options())
             for name, spec in config.tasks.items()}  # fmt: skip
    model = model_identity(config.model, config.revision, commits)
    if config.load is not None:
        model = digest(model, config.load)
    return Identity(model=model, texts=texts, held_out=held_out, tasks=tasks)


def repositories(config: StudyConfig) -> list[tuple[str, str, str | None]]:
    """What a study reads from the Hub: kind, repository and revision of model and tasks."""
    found: list[tuple[str, str, str | None]] = []
    if repository := model_repository(config.model):
        found.append(("model", repository, config.revision))
    for name, spec in config.tasks.items():
        repository = task_repository(spec.source or name)
        if repository is not None:
            found.append(("dataset", repository, None))
    return list(dict.fromkeys(found))


def model_repository(name: str) -> str | None:
    """The repository of a model on the Hub; None for one that lies here.

    Raises:
        InputError: If the name is that of a local file or folder that is not there.
    """
    path = model_path(name)
    if name in BUILT_IN or path.exists():
        return None
    check_path(name)
    return name.rpartition(":")[0] if path.suffix.lower() == ".gguf" else name


def task_repository(source: str) -> str | None:
    """The dataset that a task is read from; None where its files lie here."""
    from langneurons.data.tasks import get_task

    name, _, where = source.partition(":")
    return None if where else getattr(get_task(name), "repo", None)


def commit(commits: Mapping[str, str], kind: str, name: str, revision: str | None) -> str | None:
    """The commit of a repository, or the revision asked for where that is all that is known."""
    return commits.get(hub.name(kind, name, revision)) or revision


def model_path(name: str) -> Path:
    """Where a model's files lie, if it is the built-in one or lies here."""
    if name in BUILT_IN:
        from langneurons import mini

        return mini.model_path(name)
    return expanded(name)


def model_identity(name: str, revision: str | None, commits: Mapping[str, str] = _NONE) -> str:
    """Identity of a model: its files' content where they lie here, else name and commit.

    Raises:
        InputError: If the name is that of a local file or folder that is not there.
    """
    path = model_path(name)
    if path.exists():
        return _content(path)
    return digest(name, commit(commits, "model", str(model_repository(name)), revision))


def task_identity(source: str, commits: Mapping[str, str] = _NONE, **options: Any) -> str:
    """Identity of a task: its files' content where they lie here, else its commit; and its input.

    Args:
        source: Name of the task, or ``NAME:PATH``.
        commits: Commits of what is read from the Hub.
        **options: What else the study says of the task, see ``get_task``.
    """
    if options:
        return digest(task_identity(source, commits), options)
    name, _, where = source.partition(":")
    path = expanded(where)
    if where and path.exists():
        return digest(name, _content(path))
    repository = task_repository(source)
    # What the built-in world makes is decided by its code, which is in the keys of its stages.
    return digest(source, repository and commit(commits, "dataset", repository, None))


def pinned(source: str, commits: Mapping[str, str], **options: Any) -> Task:
    """A task whose examples come from the commit that its stages' keys name.

    Args:
        source: Name of the task, or ``NAME:PATH``.
        commits: Commits of what is read from the Hub.
        **options: What else the study says of the task, see ``get_task``.
    """
    from langneurons.data.tasks import get_task

    repository = task_repository(source)
    sha = repository and commits.get(hub.name("dataset", repository))
    return get_task(source, **({"repo": f"{repository}@{sha}"} if sha else {}), **options)


def _content(path: Path) -> str:
    if path.is_file():
        return file_digest(path)
    found = sorted(item for item in path.rglob("*") if item.is_file())
    return digest([[str(item.relative_to(path)), file_digest(item)] for item in found])
