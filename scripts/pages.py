"""Write the pages that are made from the source: `make pages`; a test holds them current."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from scripts import command_page, error_catalogue, key_page, record_page, value_page

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES: dict[str, Callable[[], str]] = {
    "errors.md": error_catalogue.page,
    "commands.md": command_page.page,
    "keys.md": key_page.page,
    "values.md": value_page.page,
    "records.md": record_page.page,
}


def main() -> None:
    """Write every page that has changed, and name it."""
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
