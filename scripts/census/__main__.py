"""The census as a command."""

import argparse
import json

import transformers
from scripts.census import PAGE, RECORD, __doc__, classes, rows
from scripts.census.page import page

from langneurons.artifacts import write_text


def main() -> None:
    """Try the classes; write the page when all were tried."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--again", action="store_true", help="forget what was tried before")
    parser.add_argument("--only", help="model types or classes, with commas")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    if options.again:
        RECORD.unlink(missing_ok=True)
    found = []
    total = len(classes())
    for number, row in enumerate(rows(options.only), 1):
        found.append(row)
        print(f"{number:3}/{total} {row['status']:9} {row['class']} {row['why'][:150]}", flush=True)
        if options.only:
            print(json.dumps(row, indent=1, ensure_ascii=False))
    if options.only is None:
        write_text(PAGE, page(found))
        print(PAGE)


if __name__ == "__main__":
    main()
