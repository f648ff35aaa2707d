"""Every public name says what it is, and the examples in docstrings run."""

import ast
import doctest
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import langneurons

SOURCE = Path(langneurons.__file__).parent
KINDS = {"InputError", "RunError", "ArtifactError", "unknown"}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(langneurons.__path__, "langneurons.")
    if not module.name.endswith("__main__")
    # A kernel for GPUs, imported only where Triton is.
    and (module.name != "langneurons.statistics.fused" or importlib.util.find_spec("triton"))
)


def test_every_exported_name_and_its_public_methods_have_a_docstring():
    silent = []
    for name in langneurons.__all__:
        value = getattr(langneurons, name)
        if name == "__version__":
            continue
        if not inspect.getdoc(value):
            silent.append(name)
        if inspect.isclass(value):
            silent += [
                f"{name}.{key}"
                for key, member in vars(value).items()
                if not key.startswith("_")
                and (callable(member) or isinstance(member, property | classmethod | staticmethod))
                and not inspect.getdoc(getattr(value, key))
            ]
    assert not silent


@pytest.mark.parametrize("name", ["langneurons", *MODULES])
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_every_public_function_and_class_of_every_module_has_a_docstring():
    silent = []
    for name in MODULES:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            here = getattr(value, "__module__", None) == name
            public = not key.startswith("_") and (
                inspect.isclass(value) or inspect.isfunction(value)
            )
            if here and public and not value.__doc__:
                silent.append(f"{name}.{key}")
    assert not silent


def test_every_public_function_that_refuses_something_says_so():
    silent = []
    for path in sorted(SOURCE.rglob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        classes = [node for node in body if isinstance(node, ast.ClassDef)]
        public = [node for node in classes if not node.name.startswith("_")]
        for node in [*body, *(method for each in public for method in each.body)]:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            said = ast.get_docstring(node) or ""
            # A command's docstring is its help text.
            if path.parent.name == "cli" and "Raises:" not in said and _is_command(node):
                continue
            raised = {
                call.exc.func.id
                for call in ast.walk(node)
                if isinstance(call, ast.Raise)
                and isinstance(call.exc, ast.Call)
                and isinstance(call.exc.func, ast.Name)
            }
            if raised & KINDS and not re.search(r"\bRaises?\b|See :", said):
                silent.append(f"{path.relative_to(SOURCE)}:{node.name}")
    assert not silent


def _is_command(node):
    return "Annotated" in ast.unparse(node.args) or bool(node.decorator_list)
