"""The order of the rooms in docs/architecture.md, held against the imports themselves."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "langneurons"
FOUNDATION = {"errors", "version", "registry", "artifacts", "progress", "display", "lazy",
              "threads", "defaults"}  # fmt: skip
ORDER = [
    "models",
    "data",
    "statistics",
    "identification",
    "intervention",
    "finetuning",
    "evaluation",
    "features",
    "provenance",
    "reporting",
    "stages",
    "interface",
    "config",
    "study",
    "parts",
    "play",
    "cli",
]
# `mini` is a model, a text and two tasks: the places that turn the name "mini" into them.
MAY_NAME_MINI = {"models/loading.py", "data/tasks/mini.py", "config/inputs.py", "cli/inputs.py",
                 "cli/mini.py", "play/sources.py", "play/examples.py"}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Rooms a module imports, at its head or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "langneurons":
            names = [f"langneurons.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [node.module]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("langneurons.")}
    return found


@pytest.mark.parametrize("room", [*ORDER, "mini"])
def test_a_room_imports_only_rooms_before_it(room):
    allowed = FOUNDATION | {room}
    if room in ORDER:
        allowed |= set(ORDER[: ORDER.index(room)])
    modules = list((SOURCE / room).rglob("*.py"))
    assert modules
    for path in modules:
        place = str(path.relative_to(SOURCE))
        extra = {"mini"} if place in MAY_NAME_MINI else set()
        assert imports(path) <= allowed | extra, place


def _modules() -> dict[str, Path]:
    """Every module of the package by its full name."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        words = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return found


def _imported(path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules that one imports (at its head, in a function, for its types), or reads data of."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in modules else node.module for name in inner}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("resources.files"):
            found |= {word.value for word in node.args if isinstance(word, ast.Constant)}
    return found & modules.keys()


def test_no_modules_import_each_other_in_a_circle():
    """Not even by an import inside a function, or one that only a type checker follows."""
    modules = _modules()
    arrows = {name: _imported(path, modules) - {name} for name, path in modules.items()}
    assert len(arrows) > 200
    graphlib.TopologicalSorter(arrows).prepare()


# A part imports another only where one word of a study names the other; `paper` judges them all.
BETWEEN_PARTS = {
    "adapters": {"tasks"},
    "sweep": {"tasks", "adapters"},
    "interventions": {"tasks", "adapters"},
    "changes": {"tasks", "adapters"},
    "answers": {"tasks", "adapters", "interventions"},
    "steering": {"tasks", "directions"},
    "paper": {"neurons", "perplexity", "tasks", "adapters", "interventions"},
}


def test_a_part_imports_only_the_parts_it_names():
    for folder in sorted(path for path in (SOURCE / "parts").iterdir() if path.is_dir()):
        found = {
            match[1]
            for path in folder.rglob("*.py")
            for match in re.finditer(r"langneurons\.parts\.(\w+)", path.read_text("utf-8"))
        }
        assert found <= {folder.name} | BETWEEN_PARTS.get(folder.name, set()), folder.name


def test_a_part_knows_the_interface_and_not_the_engine():
    for path in (SOURCE / "parts").rglob("*.py"):
        assert "study" not in imports(path), path


# What all parts share, which the engine may name: see docs/architecture.md.
SHARED = {"statistics", "neurons", "perplexity", "tasks", "adapters"}


def test_reporting_and_the_engine_of_studies_name_no_part():
    """What they know of a part is its interface: no word of a study but the shared ones."""
    for path in (SOURCE / "reporting").rglob("*.py"):
        assert "langneurons.parts" not in path.read_text("utf-8"), path
    words = {path.name for path in (SOURCE / "parts").iterdir() if path.is_dir()} - SHARED
    words -= {"paper"}  # also a protocol
    for room in ("provenance", "stages", "interface", "config", "study"):
        for path in (SOURCE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                word = node.value if isinstance(node, ast.Constant) else None
                word = node.attr if isinstance(node, ast.Attribute) else word
                assert not isinstance(word, str) or word not in words, (path.name, word)


def test_the_map_in_the_documentation_names_the_rooms_in_their_order():
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms, _, _ = page.partition("## How a study runs")
    table = [line for line in rooms.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", table[0])) == FOUNDATION - {"version"}
    assert [re.match(r"\| `(\w+)/`", line)[1] for line in table[1:]] == [*ORDER, "mini"]
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == {*ORDER, "mini"}


def test_the_foundation_imports_no_room():
    for name in FOUNDATION:
        assert imports(SOURCE / f"{name}.py") <= FOUNDATION


def test_nothing_is_unpickled_and_no_remote_code_is_trusted_by_default():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in {"pickle.load", "pickle.loads", "eval", "exec"}, path
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", path
            assert keywords.get("trust_remote_code") != "True", path
            assert keywords.get("shell") != "True", path
