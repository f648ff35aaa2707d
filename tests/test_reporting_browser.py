"""The page in a real browser: Chromium through Playwright, skipped where either is missing."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from langneurons.reporting import report
from reporting_run import write_run
from test_reporting_report import EVIL, SMALL, URDU, small_tables

pytestmark = pytest.mark.slow

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    tables = small_tables((*SMALL[:2], URDU))
    tables["perplexity"] = pd.concat(
        [tables["perplexity"], tables["perplexity"].assign(neurons="second")]
    )
    tables["passages"] = pd.DataFrame({"passage": [URDU, EVIL, "plain"], "share": [0.5, 0.1, 0.9]})
    return report(write_run(tmp_path_factory.mktemp("run"), tables, name=EVIL))


@pytest.fixture
def visit(browser, file):
    opened = []

    def go(width=1280, height=900, scheme="light", **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        page = context.new_page()
        page.problems = []
        page.on(
            "console",
            lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("dialog", lambda dialog: (page.problems.append("dialog"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:"))
                else page.problems.append(request.url)
            ),
        )
        page.goto(file.as_uri())
        opened.append((context, page))
        return page

    yield go
    for context, page in opened:
        assert page.problems == []
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_renders_without_errors_and_without_sideways_scroll(visit, scheme, width):
    page = visit(width=width, scheme=scheme)
    assert page.locator("h1").inner_text() == EVIL
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
    ink = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert ink == {"light": "rgb(27, 31, 36)", "dark": "rgb(230, 232, 235)"}[scheme]


def test_theme_button(visit):
    page = visit(scheme="light")
    button = page.locator("#theme")
    button.click()
    button.click()
    assert button.inner_text() == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


def test_tabs_by_click_and_by_key(visit):
    page = visit()
    tabs = page.locator("#tabs-perplexity [role=tab]")
    panels = page.locator("#tabs-perplexity [role=tabpanel]")
    assert tabs.count() == 2
    assert [panels.nth(i).is_visible() for i in (0, 1)] == [True, False]
    tabs.nth(1).click()
    assert [panels.nth(i).is_visible() for i in (0, 1)] == [False, True]
    page.keyboard.press("ArrowLeft")
    assert tabs.nth(0).get_attribute("aria-selected") == "true"
    assert panels.nth(0).is_visible()


def test_sorting(visit):
    page = visit()
    table = page.locator("#tab-other_passages")
    shares = table.locator("tbody tr td:nth-child(2)")
    table.locator("th:nth-child(2) button").click()
    assert shares.all_inner_texts() == ["0.900", "0.500", "0.100"]
    assert table.locator("th:nth-child(2)").get_attribute("aria-sort") == "descending"
    table.locator("th:nth-child(2) button").click()
    assert shares.all_inner_texts() == ["0.100", "0.500", "0.900"]
    table.locator("th:nth-child(1) button").click()
    first = table.locator("tbody tr:first-child td:first-child").inner_text()
    assert first == EVIL


def test_long_tables_have_pages(visit):
    page = visit()
    page.locator("#tab-perplexity summary").click()
    rows = page.locator("#tab-perplexity tbody tr:visible")
    assert rows.count() == 25
    before = rows.first.inner_text()
    page.locator("#tab-perplexity .pager button[aria-label='next rows']").click()
    assert rows.first.inner_text() != before


def test_search_counts_and_opens(visit):
    page = visit()
    page.keyboard.press("/")
    page.keyboard.type("plain 0.9")
    assert page.locator("#found").inner_text() == "1 row"
    assert page.locator("#tab-other_passages tbody tr:visible").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("#found").inner_text() == ""
    assert page.locator("#tab-other_passages tbody tr:visible").count() == 3


def test_values_under_the_pointer(visit):
    page = visit()
    page.locator("#fig-neurons_lape svg [data-tip]").nth(2).hover()
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert tip.inner_text().startswith("en, layer 2: ")


def test_right_to_left_text(visit):
    page = visit()
    cell = page.locator("#tab-other_passages td", has_text=URDU)
    assert cell.evaluate("cell => getComputedStyle(cell).direction") == "rtl"
    other = page.locator("#tab-other_passages td", has_text="plain")
    assert other.evaluate("cell => getComputedStyle(cell).direction") == "ltr"


def test_print_shows_everything(visit):
    page = visit(scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    panels = page.locator("#tabs-perplexity [role=tabpanel]")
    assert all(panels.nth(i).is_visible() for i in range(panels.count()))
    assert not page.locator("header").is_visible()
    assert not page.locator("nav").is_visible()
    assert len(page.pdf()) > 10_000


def test_works_without_script(visit):
    page = visit(java_script_enabled=False)
    assert page.locator("#tabs-perplexity > section").nth(1).is_visible()
    assert page.locator("#tab-other_passages").is_visible()
