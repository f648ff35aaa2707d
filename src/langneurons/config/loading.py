"""From a YAML file or a preset name, with overrides, to a checked study."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml.constructor import ConstructorError

from langneurons.config.narrowing import narrow
from langneurons.config.schema import StudyConfig, parse, plain
from langneurons.errors import InputError, unknown

_PRESETS = importlib.resources.files("langneurons.config") / "presets"


class _Loader(yaml.SafeLoader):
    """Safe, and with the truth values of YAML 1.2: `no` is Norwegian, not false."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def presets() -> dict[str, str]:
    """Names of the presets and their first comment line."""
    found = {}
    for entry in _PRESETS.iterdir():
        # A leading underscore: a part that several presets include, no study by itself.
        if entry.name.endswith(".yaml") and not entry.name.startswith("_"):
            first = entry.read_text(encoding="utf-8").splitlines()[0]
            found[entry.name.removesuffix(".yaml")] = first.lstrip("# ")
    return dict(sorted(found.items()))


def load(
    study: str | Path,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> StudyConfig:
    """Read a study.

    Args:
        study: A preset's name or the path of a YAML file.
        overrides: ``KEY=VALUE`` with dots for nested keys, VALUE read as YAML.
        changes: Top-level keys that replace the file's, before the overrides.

    Returns:
        The checked study, its ``budget`` already applied.

    Raises:
        InputError: Unknown preset, unreadable file, unknown key or impossible value.
    """
    file = _read(study, ())
    data = {**file, **(changes or {})}
    if data.get("series"):
        raise InputError(
            f"{str(study)!r} is a series of studies ({', '.join(map(str, data['series']))}): "
            "read it with load_series, or run it from the command line."
        )
    return _resolve(data, overrides, file.get("languages"))


def load_series(
    study: str | Path,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> dict[str, StudyConfig]:
    """Read a series of studies: one for each entry of ``series``, which changes some keys.

    Args:
        study: See :func:`load`.
        overrides: See :func:`load`; they apply to every member.
        changes: See :func:`load`. A ``model`` among them takes the place of the whole series.

    Returns:
        Member's name to its study; ``{"": study}`` where there is no series.

    Raises:
        InputError: See :func:`load`.
    """
    file = _read(study, ())
    data, named = {**file, **(changes or {})}, file.get("languages")
    series = data.pop("series", None)
    if not series or "model" in (changes or {}):
        return {"": _resolve(data, overrides, named)}
    if not isinstance(series, Mapping) or not all(isinstance(s, Mapping) for s in series.values()):
        raise InputError(
            "series must be a mapping of names to changed keys, such as {a: {seed: 1}}."
        )
    name = data.get("name", "study")
    try:
        members = {plain("member", str(member)): change for member, change in series.items()}
    except ValueError as error:
        raise InputError(f"series: {error}.") from error
    return {
        member: _resolve(_merge({**data, "name": f"{name}-{member}"}, change), overrides, named)
        for member, change in members.items()
    }


def _resolve(data: dict[str, Any], overrides: Sequence[str], named: Any) -> StudyConfig:
    """The checked study; ``named`` are the languages of its file, some of which may be gone."""
    merged = _override(data, overrides)
    budget = merged.get("budget", "full")
    budgets = merged.get("budgets") or {}
    if budget != "full":
        if budget not in budgets:
            raise unknown("budget", budget, ["full", *budgets])
        # The overrides come last: what a person types wins over the budget.
        merged = _override(_merge(data, budgets[budget]), overrides)
    return parse(narrow(merged, named))


def _read(study: str | Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = Path(study)
    if path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read study file {str(path)!r}: {error}.") from error
        source = path.resolve()
    else:
        if str(study) not in presets() and not (_part(str(study)) and seen):
            raise unknown("preset", study, [*presets(), "PATH.yaml"])
        text = (_PRESETS / f"{study}.yaml").read_text(encoding="utf-8")
        source = Path(str(study))
    if source in seen:
        raise InputError(f"study file {str(study)!r} includes itself: take the `include` out.")
    try:
        # OmegaConf's own reader knows YAML's truth values of 1.1, but also when a key stands twice.
        OmegaConf.create(text)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except ConstructorError as error:
        if not str(error.problem).startswith("found duplicate key"):
            raise _no_yaml(study, error) from error
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"study file {str(study)!r}{place}: {error.problem}; mend it.") from error
    except OmegaConfBaseException as error:
        line = str(error).splitlines()[0]
        raise InputError(f"study file {str(study)!r} cannot be read ({line}): mend it.") from error
    except yaml.YAMLError as error:
        raise _no_yaml(study, error) from error
    if not isinstance(data, dict):
        raise InputError(f"study file {str(study)!r} must hold keys and values.")
    include = data.pop("include", [])
    base: dict[str, Any] = {}
    for name in [include] if isinstance(include, str) else include:
        other = source.parent / name if str(name).endswith((".yaml", ".yml")) else name
        base = _merge(base, _read(other, (*seen, source)))
    return _merge(base, data)


def _no_yaml(study: str | Path, error: yaml.YAMLError) -> InputError:
    line = str(error).replace("\n", " ")
    return InputError(f"study file {str(study)!r} is no valid YAML: {line}; mend it.")


def _part(name: str) -> bool:
    """Whether it is a part that presets share."""
    return name.startswith("_") and name in {
        entry.name.removesuffix(".yaml") for entry in _PRESETS.iterdir()
    }


def _merge(first: dict[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both and old is not None else value
    return merged


def _override(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for item in overrides:
        if "=" not in item or item.startswith("="):
            raise InputError(f"override {item!r} must be KEY=VALUE, such as budget=small.")
    try:
        config = OmegaConf.merge(OmegaConf.create(data), OmegaConf.from_dotlist(list(overrides)))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        line = str(error).splitlines()[0]
        raise InputError(
            f"cannot apply {' '.join(overrides)!r}: {line}; write KEY=VALUE, dots for nested keys."
        ) from error
    # Interpolations stay unresolved: a study file reads no environment variables, so that no
    # secret can end in a run's records.
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)  # a mapping merged with dotted keys stays one
    return {str(key): value for key, value in plain.items()}


def dump(config: StudyConfig) -> str:
    """The resolved study as YAML."""
    data = config.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
