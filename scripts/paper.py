"""Build the paper, What survives with its records, from the pages of docs/: `make paper`.

Pandoc turns the Markdown into Typst, Typst sets it; both come as Python packages (extra `paper`).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from scripts import record_page

from langneurons.version import __version__

DOCS = record_page.DOCS
PAPER = DOCS / "paper"
SOURCE = DOCS / "what-survives.md"
SUBTITLE = "Language-specific neurons and cross-lingual transfer, read again on a laptop"
FOLD = '<details markdown="1">\n<summary>{}</summary>'  # stands open on paper
APPENDIX = """
```{=typst}
#set page(flipped: true, margin: (x: 14mm, y: 16mm))
#set table(inset: (x: 0.4em, y: 0.14em))
#show raw: set text(size: 5.6pt)
#show heading.where(level: 2): set text(9pt)
```

# Appendix: the records

"""


def markdown() -> str:
    """The page and, behind it, the records that it links to."""
    records = record_page.cited([SOURCE])
    sections = (record_page.section(name, users) for name, users in records.items())
    text = SOURCE.read_text(encoding="utf-8") + APPENDIX + "\n".join(sections)
    text = text.replace(FOLD.format("The record"), "").replace("</details>\n", "")
    return re.sub(FOLD.format("(.*?)"), r"#### \1", text)


def typst_source() -> str:
    """The paper as Typst, with paths of figures from docs/."""
    import pypandoc

    return pypandoc.convert_text(
        markdown(),
        "typst",
        format="markdown-implicit_figures+gfm_auto_identifiers-citations-tex_math_dollars-smart",
        extra_args=[
            f"--lua-filter={PAPER / 'filter.lua'}",
            f"--template={PAPER / 'template.typ'}",
            f"--variable=footer:langneurons {__version__}",
            f"--variable=subtitle:{SUBTITLE}",
            "--wrap=none",
        ],
    )


def build(output: Path) -> Path:
    """Write the PDF.

    Args:
        output: Its path; folders are made.
    """
    import typst

    text = typst_source()
    output.parent.mkdir(parents=True, exist_ok=True)
    # Typst reads figures below the folder of its source.
    source = DOCS / "paper.typ"
    source.write_text(text, encoding="utf-8")
    try:
        typst.compile(str(source), output=str(output), root=str(DOCS))
    finally:
        source.unlink()
    return output


def main() -> None:
    """Build the paper where `-o` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=PAPER / "what-survives.pdf")
    sys.stdout.write(f"{build(parser.parse_args().output)}\n")


if __name__ == "__main__":
    main()
