"""Every key of a study file, read from its schema: docs/keys.md."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from langneurons.config.schema import schema
from langneurons.interface.spec import nested

HEAD = """# Keys of a study

Every key that a study's YAML file may hold, with its type and default. `-s KEY=VALUE` changes any
of them on the command line, dots for nested ones. A key that is not here is refused with the
nearest one that is. What the keys mean together: [Studies](studies.md).

This page is written by `make pages` from the schema.
"""


def page() -> str:
    """The page, as Markdown."""
    parts = [HEAD, _table("The whole file", schema())]
    for place, model in sections():
        parts.append(_table(f"`{place}`", model))
    return "".join(parts)


def sections(model: type[BaseModel] | None = None, place: str = "") -> list[tuple[str, Any]]:
    """Nested parts of the schema: where they stand in the file, and their model."""
    found = []
    for name, field in (model or schema()).model_fields.items():
        for inner, keyed in nested(field.annotation):
            where = f"{place}{name}" + (".NAME" if keyed else "")
            found.append((where, inner))
            found += sections(inner, f"{where}.")
    return found


def _table(title: str, model: type[BaseModel]) -> str:
    head = f"\n## {title}\n\n{' '.join((model.__doc__ or '').split())}\n\n"
    rows = "".join(_row(name, field) for name, field in model.model_fields.items())
    return f"{head}| key | type | default | what |\n| --- | --- | --- | --- |\n{rows}"


def _row(name: str, field: FieldInfo) -> str:
    what = (field.description or "").replace("|", "\\|")
    inner = nested(field.annotation)
    if not what and inner:
        what = " ".join((inner[0][0].__doc__ or "").split())
    if limits := ", ".join(_limits(field)):
        what = f"{what} ({limits})"
    return f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {what} |\n"


def _limits(field: FieldInfo) -> list[str]:
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return [
        f"{words} {getattr(item, sign):g}"
        for item in field.metadata
        for sign, words in signs.items()
        if getattr(item, sign, None) is not None
    ]


def _type(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys below"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        words = [_type(item) for item in arguments if item is not type(None)]
        words += ["null"] if type(None) in arguments else []
        return " or ".join(dict.fromkeys(words))
    if origin is typing.Literal:
        return " or ".join(f"`{item}`" for item in arguments)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(_type(item) for item in arguments)}]"
    if origin is dict:
        return f"names to {_type(arguments[1])}"
    plain = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "anything"}
    return plain.get(annotation, str(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None:
        return ""
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, dict) and any(isinstance(item, BaseModel) for item in value.values()):
        return ", ".join(f"`{name}`" for name in value) + " as below"
    words = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
    return f"`{words}`"
