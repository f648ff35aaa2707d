"""Neuron lists and count files: the own format, what others published, and plain tables."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from langneurons.artifacts import (
    atomic_path,
    read_json,
    read_table,
    read_tensors,
    write_json,
    write_table,
    write_text,
)
from langneurons.errors import ArtifactError, InputError, LangNeuronsError
from langneurons.identification.unit_sets import UnitSets
from langneurons.identification.units import Units

if TYPE_CHECKING:
    import pandas as pd

    from langneurons.statistics import Statistics

ASSUMED = "assumed"
"""What ``parameters["shape"]`` says of a set read from a list without its model's shape."""

PUBLISHED_ORDER = ("en", "zh", "fr", "es", "vi", "id", "ja")
"""Order in which the lists published with LAPE are assumed to hold their languages."""

S = TypeVar("S", bound=UnitSets)

Layout = Literal["layers", "pairs"]
_SUFFIXES = (".json", ".csv", ".tsv", ".parquet", ".pth", ".pt")


def save_neurons(neurons: UnitSets, path: Path, *, layout: Layout | None = None) -> None:
    """Write a neuron set; the suffix says how.

    ``.json`` without ``layout`` is the own format with everything known about the set. The others
    hold units only: ``.json`` with ``layout="layers"`` (language to a list of indices per layer)
    or ``layout="pairs"`` (language to [layer, index] pairs); ``.csv``, ``.tsv``, ``.parquet``
    (columns language, layer, index and, if known, score); ``.pth`` (a list over languages of lists
    over layers of LongTensors, as published with LAPE: the order of languages is the set's, and a
    language with no unit keeps its place).

    Raises:
        InputError: For another suffix or layout.
    """
    suffix = path.suffix.lower()
    if layout is not None and (suffix != ".json" or layout not in ("layers", "pairs")):
        raise InputError(
            f"layout {layout!r} must be 'layers' or 'pairs', for a .json file: else leave it out."
        )
    lists = {name: item.by_layer(neurons.shape[0]) for name, item in neurons.items()}
    if suffix == ".json" and layout is None:
        write_json(path, neurons.to_dict())
    elif suffix == ".json":
        plain: dict[str, Any]
        if layout == "pairs":
            plain = {name: [list(pair) for pair in item.pairs()] for name, item in neurons.items()}
        else:
            plain = {name: [layer.tolist() for layer in item] for name, item in lists.items()}
        write_text(path, json.dumps(plain, ensure_ascii=False) + "\n")
    elif suffix in (".csv", ".tsv"):
        separator = "," if suffix == ".csv" else "\t"
        write_text(path, neurons.table().to_csv(index=False, sep=separator))
    elif suffix == ".parquet":
        write_table(path, neurons.table())
    elif suffix in (".pth", ".pt"):
        with atomic_path(path) as part:
            torch.save([[layer.clone() for layer in item] for item in lists.values()], part)
    else:
        raise _unknown_suffix(path)


def load_neurons(
    kind: type[S],
    path: Path,
    *,
    languages: Sequence[str] | None = None,
    shape: tuple[int, int] | None = None,
    site: str = "mlp.act",
    layout: Layout | None = None,
) -> S:
    """Read a neuron set; the suffix says how (see :func:`save_neurons`), or else the content.

    Args:
        kind: Class of the set.
        path: File.
        languages: For the own format and for lists that name their languages: which of them to
            keep. For lists that do not (``.pth``): their names, one per list. Without, the order
            published with LAPE is assumed, with a warning that says so.
        shape: (layers, units) of the model, for lists that do not say it. Without, the least shape
            that holds every unit is assumed, with a warning; the set's ``parameters`` then say
            ``shape: assumed``.
        site: Site of the units, for lists that do not say it.
        layout: Of a plain ``.json``, where its content does not tell.

    Raises:
        InputError: If there is no such file, or its content and the options do not go together.
        ArtifactError: If the file is damaged.
    """
    if not path.is_file():
        raise InputError(f"no file {str(path)!r}: check the path.")
    suffix = _kind(path)
    if suffix == ".json":
        value = _read_any_json(path)
        if isinstance(value, dict) and "format" in value:
            neurons = kind.from_dict(read_json(path))
            return neurons if languages is None else neurons.select(languages)
        named = _from_lists(value, path, languages, layout)
    elif suffix in (".csv", ".tsv", ".parquet"):
        return _from_table(kind, _read_any_table(path, suffix), path, languages, shape, site)
    elif suffix in (".pth", ".pt"):
        named = _name(_read_pth(path), path, languages)
    else:
        raise _unknown_suffix(path)
    units, layers = named
    return kind(
        units,
        _shape(units.values(), layers, shape, path),
        site=site,
        method="imported",
        parameters=_origin(path, shape),
    )


def _origin(path: Path, shape: tuple[int, int] | None) -> dict[str, Any]:
    return {"file": path.name, **({} if shape else {"shape": ASSUMED})}


def _unknown_suffix(path: Path) -> InputError:
    return InputError(
        f"{str(path)!r}: a neuron list ends in one of {', '.join(_SUFFIXES)}, or is one of these "
        "by its content: give such a file."
    )


def _kind(path: Path) -> str:
    """The suffix of a file's format: its own, or where that says nothing what it begins with.

    Published masks and counts are called ``mask.MODEL`` or ``activation.en.train.MODEL``.
    """
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return suffix
    with path.open("rb") as file:
        head = file.read(1024)
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):  # torch.save, today and before 1.6
        return ".pth"
    if head.startswith(b"PAR1"):
        return ".parquet"
    if head.lstrip()[:1] in (b"{", b"["):
        return ".json"
    first = head.splitlines()[0] if head else b""
    for separator, ending in ((b",", ".csv"), (b"\t", ".tsv")):
        if {b"language", b"layer", b"index"} <= set(first.split(separator)):
            return ending
    raise _unknown_suffix(path)


def _read_any_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{str(path)!r} is damaged (not valid JSON): make it again.") from error


def _read_any_table(path: Path, suffix: str) -> pd.DataFrame:
    import pandas as pd

    if suffix == ".parquet":
        return read_table(path)
    separator = "," if suffix == ".csv" else "\t"
    try:
        # A language called "na" or "null" is no missing value.
        return pd.read_csv(path, sep=separator, keep_default_na=False, dtype={"language": str})
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{str(path)!r} is no table of neurons ({error}): mend it.") from error


def _read_pth(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ArtifactError(
            f"{str(path)!r} is damaged, or holds more than tensors and lists, which is not "
            "loaded: export it as plain tensors."
        ) from error


def _from_lists(
    value: Any, path: Path, languages: Sequence[str] | None, layout: Layout | None
) -> tuple[dict[str, Units], int | None]:
    """Plain JSON: an object of languages, or a bare list over languages of lists over layers."""
    if isinstance(value, list):
        return _name(value, path, languages)
    if not isinstance(value, dict) or not value:
        raise InputError(f"{str(path)!r} holds no neurons: give an object with a key a language.")
    if languages is not None:
        missing = [name for name in languages if name not in value]
        if missing:
            raise InputError(f"{str(path)!r} has no language {', '.join(missing)}: leave it out.")
        value = {name: value[name] for name in languages}
    lists = list(value.values())
    if not all(
        isinstance(item, list) and all(isinstance(inner, list) for inner in item) for item in lists
    ):
        raise InputError(
            f"{str(path)!r}: each language needs a list of layers or of [layer, index] pairs."
        )
    as_pairs = all(len(inner) == 2 for item in lists for inner in item)
    as_layers = len({len(item) for item in lists}) == 1
    if layout is None:
        if as_pairs == as_layers:
            raise InputError(
                f"{str(path)!r} can be read as lists over layers or as [layer, index] pairs: "
                "say layout='layers' or layout='pairs'."
                if as_pairs
                else f"{str(path)!r}: the languages hold neither lists over the same number of "
                "layers nor [layer, index] pairs."
            )
        layout = "pairs" if as_pairs else "layers"
    if not (as_pairs if layout == "pairs" else as_layers):
        raise InputError(f"{str(path)!r} does not have the layout {layout!r}: leave it out.")
    if layout == "pairs":
        return {
            name: Units.from_pairs([(a, b) for a, b in item]) for name, item in value.items()
        }, None
    return {name: Units.from_layers(item) for name, item in value.items()}, len(lists[0])


def _name(lists: Any, path: Path, languages: Sequence[str] | None) -> tuple[dict[str, Units], int]:
    """Lists over languages of lists over layers, whose languages the file does not name."""
    if not isinstance(lists, list) or not lists or not all(isinstance(x, list) for x in lists):
        raise InputError(
            f"{str(path)!r} is no list over languages of lists over layers: give a "
            "neuron file, not a count file."
        )
    if len({len(item) for item in lists}) != 1:
        raise InputError(
            f"{str(path)!r}: the languages have different numbers of layers; give a whole file."
        )
    if languages is None:
        if len(lists) > len(PUBLISHED_ORDER):
            raise InputError(
                f"{str(path)!r} holds {len(lists)} languages without names: name them in the "
                "file's order (-l en,zh,..., or languages=[...])."
            )
        languages = PUBLISHED_ORDER[: len(lists)]
        warnings.warn(
            f"{path.name} names no languages: assumed {', '.join(languages)}, in this order; "
            "if that is wrong name them (-l, or languages=[...]).",
            stacklevel=4,
        )
    if len(languages) != len(lists):
        raise InputError(
            f"{str(path)!r} holds {len(lists)} languages, {len(languages)} are named "
            f"({', '.join(languages)}): name those it holds (it may lack the last, without units)."
        )
    return (
        {name: Units.from_layers(item) for name, item in zip(languages, lists, strict=True)},
        len(lists[0]),
    )


def _from_table(
    kind: type[S],
    table: pd.DataFrame,
    path: Path,
    languages: Sequence[str] | None,
    shape: tuple[int, int] | None,
    site: str,
) -> S:
    import pandas as pd

    missing = [name for name in ("language", "layer", "index") if name not in table.columns]
    if missing:
        raise InputError(
            f"{str(path)!r} has no column {', '.join(missing)}: name the columns of a table of "
            "neurons language, layer, index and perhaps score."
        )
    if not all(pd.api.types.is_integer_dtype(table[name]) for name in ("layer", "index")):
        raise InputError(f"{str(path)!r}: layer and index must be integers.")
    wanted = list(dict.fromkeys(table["language"])) if languages is None else list(languages)
    units, scores = {}, {}
    for name in wanted:
        part = table[table["language"] == name].sort_values(["layer", "index"])
        part = part.drop_duplicates(["layer", "index"])
        units[name] = Units(
            torch.tensor(part["layer"].tolist()), torch.tensor(part["index"].tolist())
        )
        if "score" in part.columns:
            scores[name] = torch.tensor(part["score"].astype(float).tolist(), dtype=torch.float64)
    return kind(
        units,
        _shape(units.values(), None, shape, path),
        site=site,
        method="imported",
        parameters=_origin(path, shape),
        scores=scores,
    )


def _shape(
    units: Iterable[Units], layers: int | None, shape: tuple[int, int] | None, path: Path
) -> tuple[int, int]:
    if shape is not None:
        if layers is not None and layers != shape[0]:
            raise InputError(
                f"{str(path)!r} holds {layers} layers, the shape says {shape[0]}: mend the shape."
            )
        return shape
    parts = [item for item in units if len(item)]
    deepest = max((int(item.layers.max()) + 1 for item in parts), default=1)
    width = max((int(item.indices.max()) + 1 for item in parts), default=1)
    assumed = (layers or deepest, width)
    warnings.warn(
        f"{path.name} does not say the model's shape: assumed {assumed[0]} layers x {assumed[1]} "
        "units, the least that holds every neuron; say it (--shape LAYERSxUNITS, or "
        "shape=(layers, units)).",
        stacklevel=4,
    )
    return assumed


def read_counts(
    files: str | Path | Mapping[str, str | Path], *, site: str = "mlp.act"
) -> Statistics:
    """Statistics from activation counts that others published.

    A count file holds ``over_zero``, (layers, units) counts, and the number of tokens as ``n`` (as
    the LAPE release saves one per language) or ``total_tokens``.

    Args:
        files: Language to a count file; or a folder of them, recognised by their content, whose
            names say the language (``activation.en.train.llama-7b``, ``activation.en.pth``); or
            one safetensors file that holds a tensor (layers, units) per language and ``tokens``
            (language to number) in its metadata. Counts of prompts in the folder
            (``prefix.activation.en...``) are subtracted, what would be below 0 is 0.
        site: Site that was counted.

    Raises:
        InputError: If a file lacks the counts or the number of tokens, or a folder holds none, or
            several for a language, or prompts for some languages alone.
        ArtifactError: If a file is damaged.
    """
    from langneurons.statistics import Statistics

    if isinstance(files, Mapping):
        full = {language: _count_file(Path(name), language) for language, name in files.items()}
        return _of_counts(full, {}, site)
    if Path(files).is_dir():
        return _of_counts(*_counts_in(Path(files)), site)
    tensors, metadata = read_tensors(files)
    named = metadata.get("tokens")
    if not isinstance(named, dict) or set(named) != set(tensors):
        raise InputError(
            f"{str(files)!r}: the metadata must give 'tokens', the number of tokens of each of "
            f"the languages {', '.join(sorted(tensors))}."
        )
    order = metadata.get("languages") or list(named)
    return Statistics.from_counts(
        {language: tensors[language].to(torch.int64) for language in order},
        {language: int(named[language]) for language in order},
        site=site,
    )


Counts = tuple[torch.Tensor, int]


def _count_file(path: Path, language: str) -> Counts:
    if not path.is_file():
        raise InputError(
            f"no file {str(path)!r} (counts of language {language!r}): check the path."
        )
    found = _as_counts(_read_pth(path))
    if found is None:
        raise InputError(
            f"{str(path)!r} is no count file: it needs the entries 'n' (or 'total_tokens') and "
            "'over_zero'."
        )
    return found


def _as_counts(value: Any) -> Counts | None:
    """Counts and tokens of a count file's content; None for other content."""
    if not isinstance(value, dict) or "over_zero" not in value:
        return None
    tokens = value.get("n", value.get("total_tokens"))
    return None if tokens is None else (value["over_zero"].to(torch.int64), int(tokens))


def has_counts(folder: Path) -> bool:
    """Whether a folder holds a file that may be a published count file, by its first bytes."""
    return any(_may_be_counts(path) for path in folder.iterdir())


def _may_be_counts(path: Path) -> bool:
    try:
        return path.is_file() and _kind(path) in (".pth", ".pt")
    except LangNeuronsError:
        return False


def _counts_in(folder: Path) -> tuple[dict[str, Counts], dict[str, Counts]]:
    """Counts by language in a folder, and those of prompts; files of other content are let be."""
    full: dict[str, Counts] = {}
    prompts: dict[str, Counts] = {}
    for path in sorted(folder.iterdir()):
        if not _may_be_counts(path):
            continue
        parts = path.name.split(".")
        of_prompts = parts[0] == "prefix"
        parts = parts[of_prompts:]
        try:
            value = _as_counts(_read_pth(path))
        except ArtifactError:
            if parts[0] == "activation":
                raise
            continue
        if value is None or len(parts) < 2:
            continue
        language = parts[1] if parts[0] == "activation" else parts[-2]
        group = prompts if of_prompts else full
        if language in group:
            raise InputError(
                f"{str(folder)!r} holds several count files for {language!r}, such as "
                f"{path.name!r}: give a folder with one model's."
            )
        group[language] = value
    if not full:
        raise InputError(
            f"{str(folder)!r} holds no count file (entries 'over_zero' and 'n' or 'total_tokens') "
            "whose name says its language, such as activation.en.pth: give another folder."
        )
    return full, prompts


def _of_counts(full: Mapping[str, Counts], prompts: Mapping[str, Counts], site: str) -> Statistics:
    from langneurons.statistics import Statistics

    if prompts and set(prompts) != set(full):
        odd = sorted(set(prompts) ^ set(full))
        raise InputError(
            f"counts of prompts (prefix.activation...) are there for some languages alone, not of "
            f"{', '.join(odd)} both: give both files of every language, or take the prefix files "
            "away."
        )
    counts = {language: item[0] for language, item in full.items()}
    tokens = {language: item[1] for language, item in full.items()}
    below = 0
    for language, (count, seen) in prompts.items():
        rest = counts[language] - count
        below += int((rest < 0).sum())
        counts[language] = rest.clamp_min(0)
        tokens[language] -= seen
    if below:
        warnings.warn(
            f"{below:,} counts of prompts are above those of the whole text: their difference is "
            "taken as 0.",
            stacklevel=3,
        )
    return Statistics.from_counts(counts, tokens, site=site)


def write_counts(statistics: Statistics, folder: str | Path) -> dict[str, Path]:
    """Write one count file per language, as the LAPE release saves them.

    Args:
        statistics: Any statistics.
        folder: Where ``activation.<language>.pth`` go.

    Returns:
        Language to its file, as :func:`read_counts` takes them.
    """
    written = {}
    for language in statistics.languages:
        path = Path(folder) / f"activation.{language}.pth"
        counts = statistics.count_positive[language]
        with atomic_path(path) as part:
            torch.save({"n": statistics.tokens[language], "over_zero": counts.clone()}, part)
        written[language] = path
    return written
