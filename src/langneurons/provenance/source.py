"""One source file as its definitions: a digest of each, and what each one names."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langneurons.artifacts import write_text
from langneurons.errors import LangNeuronsError

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.Lambda)
_FOLLOWED = "langneurons."
_KNOWN_BASES = frozenset(
    {"ABC", "BaseModel", "Enum", "Exception", "Generic", "Mapping", "NamedTuple", "Protocol"}
    | {"Sequence", "StrEnum", "ValueError", "RuntimeError", "TypedDict", "object"}
)
"""Bases of other libraries that call no method of a class derived from them."""
_PLAIN = frozenset({"staticmethod", "classmethod", "property", "cached_property", "override"})
_CALLED_BY_OTHERS = frozenset({"forward", "backward"})


@dataclass(frozen=True)
class Part:
    """One definition.

    Attributes:
        digest: Of its syntax without comments, docstrings and layout, on every Python alike.
        names: Names it uses and does not bind itself.
        attributes: Attributes it uses, and words that may be the name of one.
        modules: Words that may be the name of a module.
    """

    digest: str
    names: tuple[str, ...]
    attributes: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """The definitions of one file.

    Attributes:
        package: Whether it is a package's own file.
        parts: Definition to its part: ``name``, ``Class``, ``Class.method``, and ``""`` for what
            stands between the definitions.
        methods: Class to its methods that count once they are used.
        imports: Name to what it stands for, (module, name in it or None) each.
    """

    package: bool
    parts: Mapping[str, Part]
    methods: Mapping[str, tuple[str, ...]]
    imports: Mapping[str, tuple[tuple[str, str | None], ...]]


def read(name: str, path: Path) -> Source:
    """Read a module's source, or what an earlier process found in the same file.

    Args:
        name: The module's full name.
        path: Its file.
    """
    from langneurons.models.gguf import cache_folder

    content = path.read_bytes()
    digest = hashlib.sha256(name.encode() + b"\0" + content).hexdigest()[:32]
    kept = cache_folder() / f"source-{_reader()}" / f"{digest}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _load(json.loads(kept.read_text(encoding="utf-8")))
    source = _Reader(name, path.name == "__init__.py", content.decode()).source()
    with contextlib.suppress(LangNeuronsError):  # a home that cannot be written costs time alone
        write_text(kept, json.dumps(asdict(source)))
    return source


@functools.cache
def _reader() -> str:
    """Digest of this file: what another form of it found may be no longer what this one finds."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _load(data: Any) -> Source:
    parts = {
        name: Part(item["digest"], *(tuple(item[k]) for k in ("names", "attributes", "modules")))
        for name, item in data["parts"].items()
    }
    return Source(
        bool(data["package"]),
        parts,
        {name: tuple(found) for name, found in data["methods"].items()},
        {name: tuple((a, b) for a, b in found) for name, found in data["imports"].items()},
    )


class _Reader:
    """Takes a file's syntax apart."""

    def __init__(self, name: str, package: bool, text: str) -> None:
        self._name, self._package = name, package
        self._nodes: dict[str, list[ast.AST]] = {"": []}
        self._methods: dict[str, tuple[str, ...]] = {}
        self._imports: dict[str, set[tuple[str, str | None]]] = {}
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node)
        for statement in tree.body:
            self._define(statement)

    def source(self) -> Source:
        """The file, taken apart."""
        return Source(
            self._package,
            {name: _part(nodes) for name, nodes in self._nodes.items()},
            self._methods,
            {
                name: tuple(sorted(found, key=lambda item: (item[0], item[1] or "")))
                for name, found in self._imports.items()
            },
        )

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                whole = alias.name if alias.asname else name
                self._imports.setdefault(name, set()).add((whole, None))
            return
        base = node.module or ""
        if node.level:
            parents = self._name.split(".")
            parents = parents[: len(parents) - node.level + self._package]
            base = ".".join([*parents, *([base] if base else [])])
        for alias in node.names:
            self._imports.setdefault(alias.asname or alias.name, set()).add((base, alias.name))

    def _define(self, node: ast.stmt) -> None:
        if isinstance(node, _FUNCTIONS):
            self._add(node.name, node)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found = [
                item.id
                for target in targets
                for item in ast.walk(target)
                if isinstance(item, ast.Name)
            ]
            for name in found or [""]:
                self._add(name, node)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        elif not isinstance(node, ast.Import | ast.ImportFrom) and not _idle(node):
            self._add("", node)

    def _add(self, name: str, node: ast.AST) -> None:
        self._nodes.setdefault(name, []).append(node)

    def _class(self, node: ast.ClassDef) -> None:
        plain = all(self._plain(base) for base in node.bases)
        apart = [item for item in node.body if isinstance(item, _FUNCTIONS) and _called(item)]
        for item in apart if plain else ():
            self._add(f"{node.name}.{item.name}", item)
        if plain:
            self._methods[node.name] = tuple(sorted({item.name for item in apart}))
            node.body = [item for item in node.body if item not in apart]
        self._add(node.name, node)

    def _plain(self, base: ast.expr) -> bool:
        """Whether all that calls methods of a class derived from it is to be seen in the source."""
        word = ast.unparse(base).partition("[")[0]
        if word.rpartition(".")[2] in _KNOWN_BASES:
            return True
        own = self._name.partition(".")[0]
        found = self._imports.get(word.partition(".")[0], {(self._name, word)})
        return all(place.partition(".")[0] in (own, "langneurons") for place, _ in found)


def _idle(node: object) -> bool:
    """What does nothing: ``pass``, and a string that stands alone for a reader."""
    if isinstance(node, ast.Pass):
        return True
    said = node.value if isinstance(node, ast.Expr) else None
    return isinstance(said, ast.Constant) and isinstance(said.value, str)


def _called(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a method runs only when something names it."""
    words = {ast.unparse(item).rpartition(".")[2].partition("(")[0] for item in node.decorator_list}
    dunder = node.name.startswith("__") and node.name.endswith("__")
    return not dunder and node.name not in _CALLED_BY_OTHERS and words <= _PLAIN


def _part(nodes: list[ast.AST]) -> Part:
    found = _Scan()
    for node in nodes:
        found.read(node, frozenset())
    text = "\0".join(found.text).encode("utf-8", "surrogatepass")
    names, words = tuple(sorted(found.names)), tuple(sorted(found.attributes))
    return Part(hashlib.sha256(text).hexdigest()[:16], names, words, tuple(sorted(found.modules)))


class _Scan:
    """Walks a tree once, for its text and for what it names when it runs."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.modules: set[str] = set()

    def read(self, node: ast.AST, own: frozenset[str], named: bool = True) -> None:
        """Take in a node.

        Args:
            node: The node.
            own: Names that the functions around it bind themselves.
            named: Whether what it names counts; not for annotations.
        """
        self.text.append(type(node).__name__)
        if named:
            self._name(node, own)
        inside = own | _bound(node) if isinstance(node, _SCOPES) else own
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                value = [item for item in value if not _idle(item)]
            # What is empty is left out: which empty fields there are depends on Python's version.
            if value is None or value == []:
                continue
            self.text.append(name)
            # What stands at a function's head is evaluated outside of it.
            scope = inside if name in ("body", "args") else own
            counted = named and name not in ("annotation", "returns")
            if isinstance(value, list):
                self.text.append("[")
                for item in value:
                    if isinstance(item, ast.AST):
                        self.read(item, scope, counted)
                    else:
                        self.text.append(repr(item))
                self.text.append("]")
            elif isinstance(value, ast.AST):
                self.read(value, scope, counted)
            else:
                self.text.append(repr(value))

    def _name(self, node: ast.AST, own: frozenset[str]) -> None:
        if isinstance(node, ast.Name):
            if node.id not in own:
                self.names.add(node.id)
        elif isinstance(node, ast.Attribute):
            self.attributes.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            word = node.value
            if word.isidentifier():
                self.attributes.add(word)
            elif word.startswith(_FOLLOWED) and word.replace(".", "_").isidentifier():
                self.modules.add(word)


def _bound(function: ast.AST) -> frozenset[str]:
    """Names that a function binds: arguments and what it assigns, its inner functions left out."""
    assert isinstance(function, _SCOPES)
    given = function.args
    listed = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
    found = {item.arg for item in listed if item is not None}
    shared: set[str] = set()
    body = function.body
    todo: list[ast.AST] = list(body) if isinstance(body, list) else []
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                found.add(node.id)
        elif isinstance(node, ast.Global):
            shared.update(node.names)
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            found.add(node.name)
        elif not isinstance(node, ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))
    return frozenset(found - shared)
