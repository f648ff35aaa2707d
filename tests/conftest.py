"""What every test may count on."""

import os

import pytest
import torch

from langneurons.progress import set_quiet

if not torch.cuda.is_available():
    # Read when Triton is first imported, by whichever test comes first.
    os.environ["TRITON_INTERPRET"] = "1"

NIGHTLY = 10
"""Times the examples of a property test, under ``make nightly``."""


def pytest_collection_modifyitems(items):
    """Raise the examples of every property test, those with a number of their own too."""
    if os.environ.get("LANGNEURONS_NIGHTLY") != "1":
        return
    from hypothesis import settings

    for item in items:
        tested = getattr(item, "obj", None)
        own = getattr(tested, "_hypothesis_internal_use_settings", None)
        if own is not None:
            more = settings(own, max_examples=NIGHTLY * own.max_examples)
            tested = getattr(tested, "__func__", tested)
            tested._hypothesis_internal_use_settings = more


@pytest.fixture(autouse=True)
def _progress_is_heard():
    """`--quiet` in one test must not silence the next."""
    yield
    set_quiet(False)


@pytest.fixture
def short_reports():
    """Studies draw no figures in this test; see :func:`study_world.short_reports`."""
    import study_world

    with study_world.short_reports():
        yield
