"""What a study reads from outside its run directory, and the content identity of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from langneurons.artifacts import digest, file_digest
from langneurons.data import iter_texts
from langneurons.errors import InputError, LangNeuronsError
from langneurons.study.plan import Identity
from langneurons.study.schema import StudyConfig

# The built-in world makes text without end; this many times the tokens asked for are made, so
# that the held-out share is large enough.
_MINI_TOKENS = 1.6

# No tokenizer in use makes tokens longer than this on average.
_CHARACTERS_PER_TOKEN = 8


@dataclass(frozen=True)
class Texts:
    """Documents of one language, split once and for all.

    Attributes:
        statistics: Documents that statistics are collected on.
        held_out: Documents that perplexity is measured on; none of them is in ``statistics``.
    """

    statistics: list[str]
    held_out: list[str]


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
    for text in iter_texts(source):
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


def identify(config: StudyConfig, texts: Mapping[str, Texts]) -> Identity:
    """Content identities of model, texts and tasks, without loading the model."""
    return _identity(
        config,
        {lang: digest(text.statistics) for lang, text in texts.items()},
        {lang: digest(text.held_out) for lang, text in texts.items()},
    )


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
    return _identity(config, kept, held)


def _identity(
    config: StudyConfig, texts: Mapping[str, str], held_out: Mapping[str, str]
) -> Identity:
    tasks = {name: task_identity(spec.source or name) for name, spec in config.tasks.items()}
    model = model_identity(config.model, config.revision)
    return Identity(model=model, texts=texts, held_out=held_out, tasks=tasks)


def model_path(name: str) -> Path:
    """Where a model's files lie, if it is the built-in one or lies here."""
    if name == "mini":
        from langneurons import mini

        return mini.model_path()
    return Path(name).expanduser()


def model_identity(name: str, revision: str | None) -> str:
    """Identity of a model: its files' content where they lie here, else name and revision.

    Raises:
        InputError: If the name is that of a local file or folder that is not there.
    """
    path = model_path(name)
    if path.exists():
        return _content(path)
    from langneurons.models.checking import check_path

    check_path(name)
    return digest(name, revision)


def task_identity(source: str) -> str:
    """Identity of a task's examples: its files' content where they lie here, else its name."""
    name, _, where = source.partition(":")
    path = Path(where)
    if where and path.exists():
        return digest(name, _content(path))
    if name.startswith("mini"):
        from langneurons import mini
        from langneurons.version import __version__

        return digest(name, __version__, sorted(mini.LANGUAGES))
    return digest(source)


def _content(path: Path) -> str:
    if path.is_file():
        return file_digest(path)
    found = sorted(item for item in path.rglob("*") if item.is_file())
    return digest([[str(item.relative_to(path)), file_digest(item)] for item in found])
