"""``python -m langneurons`` is the command ``langneurons``."""

from langneurons.cli import main

main()
