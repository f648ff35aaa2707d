"""Every public name says what it is, and the examples in docstrings run."""

import doctest
import importlib.util
import inspect
import pkgutil

import pytest

import langneurons

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
