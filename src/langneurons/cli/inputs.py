"""What several commands read: models, text, statistics, neuron sets, values."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from langneurons.cli.options import language_list, say, text_sources
from langneurons.defaults import BUILT_IN, MATCHED
from langneurons.errors import InputError, LangNeuronsError, unknown

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet, Units
    from langneurons.intervention import Value
    from langneurons.intervention.modes import Mode
    from langneurons.models import LanguageModel
    from langneurons.statistics import Statistics

_CHARACTERS_PER_TOKEN = 8
"""No tokenizer in use makes tokens longer than this on average."""


def load_model(
    name: str, dtype: str, device: str, trust_remote_code: bool, way: Literal["nf4"] | None = None
) -> LanguageModel:
    """The model of a command; ``way`` is the word of ``--load``."""
    from langneurons.models import load

    return load(name, dtype=dtype, device=device, load=way, trust_remote_code=trust_remote_code)


def texts_of(
    model: str,
    text: list[str] | None,
    languages: str | None,
    field: str | None,
    *,
    otherwise: Iterable[str] | None = None,
    tokens: int | None,
    made: int = 60_000,
    split: str = "train",
) -> dict[str, list[str]]:
    """The documents of each language that ``--text`` names, or the built-in world's own.

    Args:
        model: Name of the model; those of ``BUILT_IN`` need no text.
        text: Words of ``--text``.
        languages: Word of ``--languages``.
        field: Column that holds the text.
        otherwise: Languages of the built-in world where none are named; None: all of them.
        tokens: Tokens that will be used, None for all.
        made: Tokens that the built-in world makes where all are used.
        split: Of the built-in world.

    Raises:
        InputError: If there is none, or one cannot be read.
    """
    if model in BUILT_IN and not text:
        from langneurons import mini

        wanted = language_list(languages) or list(otherwise or mini.LANGUAGES)
        many = made if tokens is None else tokens
        return {lang: mini.text(lang, tokens=many, split=split) for lang in wanted}
    found = {}
    for lang, sources in text_sources(text, languages).items():
        try:
            found[lang] = [item for source in sources for item in _read(source, field, tokens)]
        except LangNeuronsError as error:
            raise InputError(f"text of {lang}: {error}") from error
    if not found:
        raise InputError("no text: give one per language, such as --text en=english.txt.")
    return found


def _read(source: str, field: str | None, tokens: int | None) -> Iterable[str]:
    """Documents of one source, as many as hold the tokens surely."""
    from langneurons.data import iter_texts

    left = None if tokens is None else tokens * _CHARACTERS_PER_TOKEN
    for text in iter_texts(source, field=field):
        yield text
        if left is not None:
            left -= len(text)
            if left <= 0:
                return


def read_statistics(path: Path) -> Statistics:
    """Statistics in a folder, in a run directory's folder of them, or published counts.

    Counts are one safetensors file, a folder with one ``counts.safetensors``, or a folder of files
    under their published names (``activation.LANGUAGE...``), known by their content.
    """
    from langneurons.identification import read_counts
    from langneurons.identification.formats import has_counts
    from langneurons.statistics import Statistics

    inside = path / "statistics"
    if inside.is_dir():
        return Statistics.load(inside)
    for one in (path, path / "counts.safetensors"):
        if one.is_file():
            return read_counts(one)
    try:
        return Statistics.load(path)
    except LangNeuronsError:
        if path.is_dir() and has_counts(path):
            return read_counts(path)
        raise


def shape_of(word: str | None) -> tuple[int, int] | None:
    """(layers, units) from ``32x11008``.

    Raises:
        InputError: If the word is of another form.
    """
    if word is None:
        return None
    layers, _, units = word.lower().partition("x")
    if not (layers.isdigit() and units.isdigit()):
        raise InputError(f"--shape {word!r} must be LAYERSxUNITS, such as 32x11008.")
    return int(layers), int(units)


def neuron_set(
    path: Path, languages: Iterable[str] = (), shape: tuple[int, int] | None = None
) -> NeuronSet:
    """A neuron set, its languages named or chosen; says what was assumed of a published list."""
    from langneurons.identification import NeuronSet

    return NeuronSet.load(path, languages=list(languages) or None, shape=shape)


def _heard(path: Path, names: list[str]) -> tuple[NeuronSet, list[warnings.WarningMessage]]:
    """A neuron set, and what reading it warned of."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        return neuron_set(path, names), heard


class NeuronFile:
    """A neuron set read before a model is loaded, so that a fault is said at once.

    Args:
        path: The file.
        names: Languages of the command, which name those of a file that names none, where they are
            as many.

    Attributes:
        found: The set as read.
    """

    def __init__(self, path: Path, names: Iterable[str] = ()) -> None:
        self._path, self._names = path, []
        heard: list[warnings.WarningMessage] = []
        failed: InputError | None = None
        try:
            self.found, heard = _heard(path, [])
        except InputError as error:
            failed = error
        unnamed = failed is not None or any("names no languages" in str(x.message) for x in heard)
        if unnamed and (given := list(names)):
            with contextlib.suppress(InputError):
                self.found, heard = _heard(path, given)
                self._names, failed = given, None
        if failed is not None:
            raise failed
        for item in heard:
            if "--shape" not in str(item.message):  # the model will say it
                warnings.warn(str(item.message), stacklevel=2)

    def on(self, lm: LanguageModel) -> NeuronSet:
        """The set for a model, whose shape it gets where the file does not say its own.

        Raises:
            InputError: If it was found in another model.
        """
        from langneurons.identification.formats import ASSUMED

        found = self.found
        if found.parameters.get("shape") == ASSUMED:
            shape = (lm.layers, lm.sites[found.site].common)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = neuron_set(self._path, self._names, shape)
        found.check(lm)
        return found


def value_of(words: str, stats: Statistics | None, language: str) -> tuple[Value, Mode]:
    """A value by its words on the command line, and how it is written, over every token.

    Raises:
        InputError: The words are none, name tokens, or need statistics that are missing.
    """
    from langneurons.intervention.words import parse

    what = parse(words)
    if what.scope != "all":
        raise InputError(
            f"value {words!r}: perplexity is of every token, leave out @{what.scope} (evaluate and "
            "force take it)."
        )
    value = what.placed(stats, language, None)
    plain = words == what.name and what.mode == "set"
    return value if plain else value.named(words), what.mode


def draws(matched: int | None, stats: Statistics | None, usual: int = MATCHED) -> int:
    """Draws of units of the same activity: those asked for, or the usual where statistics allow."""
    if matched is not None:
        return matched
    if stats is None:
        say("No random units of the same activity: they need --statistics DIR.")
        return 0
    return usual


def units_of(neurons: NeuronSet, languages: str) -> Units:
    """The union of some languages' units.

    Raises:
        InputError: If none is named, or one is not in the set.
    """
    union = None
    for lang in language_list(languages):
        if lang not in neurons:
            raise unknown("language of the neuron set", lang, neurons)
        union = neurons[lang] if union is None else union | neurons[lang]
    if union is None:
        raise InputError("--units names no language: give some, such as --units hi,ur.")
    return union


def check_plan(
    model: str,
    trust_remote_code: bool,
    block: int | None,
    texts: Mapping[str, list[str]],
    way: Literal["nf4"] | None = None,
) -> None:
    """Refuse before anything is loaded what a model could not run.

    Raises:
        InputError: As :func:`langneurons.load` does, or if a text makes a block longer than the
            model's table of positions.
    """
    from langneurons.models.loading import check, check_way, load_tokenizer

    check_way(way)
    positions = check(model, trust_remote_code=trust_remote_code)
    if positions is None or block is None or block <= positions:
        return
    tokenizer = load_tokenizer(model)
    for lang, documents in texts.items():
        longest = max(documents, key=len, default="")[: block * _CHARACTERS_PER_TOKEN]
        width = min(block, len(tokenizer(longest, verbose=False)["input_ids"]))
        if width > positions:
            raise InputError(
                f"text of {lang}: a block of {width:,} tokens is longer than the {positions:,} "
                f"positions of {model}: use a block of {positions:,} or less (--block, "
                "statistics.block)."
            )
