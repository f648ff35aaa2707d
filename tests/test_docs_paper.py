"""The paper is built from the page and its records, and a reader of PDF finds all of both in it."""

import re

import pytest
from scripts import paper, record_page

pytest.importorskip("typst", reason="extra paper")
pytest.importorskip("pypandoc", reason="extra paper")
pypdf = pytest.importorskip("pypdf", reason="extra paper")

PAGE = paper.SOURCE.read_text(encoding="utf-8")
FIGURES = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE)


def plain(text):
    """Letters and digits alone: where lines, hyphens and markup lie is the setter's affair."""
    return re.sub(r"[^A-Za-z0-9]", "", text)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    return pypdf.PdfReader(paper.build(tmp_path_factory.mktemp("paper") / "made" / "paper.pdf"))


@pytest.fixture(scope="module")
def text(document):
    return plain("".join(page.extract_text() for page in document.pages))


def test_it_has_a_title_and_its_pages(document):
    assert document.metadata.title == "What survives"
    assert len(document.pages) > 20
    assert not list(paper.DOCS.glob("*.typ"))  # nothing is left beside the pages


def test_every_section_and_fold_is_in_it(text):
    headings = re.findall(r"^#+ (.*)$|<summary>(.*)</summary>", PAGE, re.MULTILINE)
    assert len(headings) > 25
    for heading in map("".join, headings):
        assert plain(heading) in text, heading
    assert "<summary>" not in text


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_in_it(figure, text):
    drawn = (paper.DOCS / figure).read_text(encoding="utf-8")
    labels = re.findall(r"<text[^>]*>([^<]+)</text>", drawn)
    assert len(labels) > 5
    longest = sorted(labels, key=len)[-3:]
    assert all(plain(label) in text for label in longest), longest


def test_every_record_that_the_page_names_is_in_it(text):
    records = record_page.cited([paper.SOURCE])
    assert len(records) > 15
    for name in records:
        record = record_page.path_of(name).read_text(encoding="utf-8")
        assert plain(name) in text
        for line in record.splitlines()[-4:]:
            assert plain(line) in text, line


def test_links_between_page_and_records_stay_inside(document):
    found = [
        annotation.get_object() for page in document.pages for annotation in page.get("/Annots", [])
    ]
    outside = {item["/A"]["/URI"] for item in found if "/URI" in item.get("/A", {})}
    assert outside
    assert len(found) > 2 * len(outside)
    assert not [target for target in outside if "records.md" in target]
    assert all(target.startswith("https://") for target in outside), outside
