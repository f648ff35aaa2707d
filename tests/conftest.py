"""What every test may count on."""

import pytest

from langneurons.progress import set_quiet


@pytest.fixture(autouse=True)
def _progress_is_heard():
    """`--quiet` in one test must not silence the next."""
    yield
    set_quiet(False)
