"""The page in a real browser: Chromium through Playwright, skipped where either is missing."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

from browser import chromium, watch
from langneurons.reporting.explorer.serve import server
from langneurons.study.report import report
from reporting_run import explored, write_run
from test_reporting_report import EVIL, SMALL, URDU, small_tables

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    tables = small_tables((*SMALL[:2], URDU))
    tables["perplexity"] = pd.concat(
        [tables["perplexity"], tables["perplexity"].assign(neurons="second")]
    )
    tables["passages"] = pd.DataFrame({"passage": [URDU, EVIL, "plain"], "share": [0.5, 0.1, 0.9]})
    tables["unit_effects"] = pd.DataFrame(
        {"language": ["hi"], "layer": [1], "index": [700], "ratio": [1.2], "neurons": ["lape"]}
    )
    folder = write_run(tmp_path_factory.mktemp("run"), tables, name=EVIL)
    explored(folder, (*SMALL[:2], URDU), text=f"{EVIL} {URDU}")
    return report(folder)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A run whose explorer does not fit into one file."""
    folder = write_run(tmp_path_factory.mktemp("large"), small_tables())
    units = [(layer, index) for layer in range(6) for index in range(100)]
    explored(folder, SMALL, units, text="many words " * 500)
    return report(folder)


@pytest.fixture
def visit(browser, file):
    opened = []

    def go(width=1280, height=900, scheme="light", where=None, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        page = context.new_page()
        watch(page, ("file:", "data:", *([where.split("#")[0]] if where else [])))
        page.goto(where or file.as_uri())
        opened.append((context, page))
        return page

    yield go
    for context, page in opened:
        assert page.problems == []
        context.close()


def opened(page, section, table=None):
    """The page with a section, and a table in it, folded out as a reader does."""
    page.locator(f"#{section} > h2 button").click()
    if table is not None:
        page.locator(f"#{table} > summary").click()
    return page


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
    page = opened(visit(), "perplexity")
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
    page = opened(visit(), "part-passages", "tab-other_passages")
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
    page = opened(visit(), "perplexity", "tab-perplexity")
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
    assert page.locator("#tab-other_passages tbody tr:visible").count() == 0  # folded again
    opened(page, "part-passages", "tab-other_passages")
    assert page.locator("#tab-other_passages tbody tr:visible").count() == 3


def test_values_under_the_pointer(visit):
    page = opened(visit(), "neurons")
    page.locator("#fig-neurons_lape svg [data-tip]").nth(2).hover()
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert tip.inner_text().startswith("en, layer 2: ")


def test_right_to_left_text(visit):
    page = opened(visit(), "part-passages", "tab-other_passages")
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
    assert page.locator("#neurons .body").is_visible()  # folded on the screen, laid out on paper
    assert page.locator("#fig-neurons_lape svg").is_visible()
    assert len(page.pdf()) > 10_000


def test_explorer_filters_and_shows_a_unit(visit):
    page = opened(visit(), "explorer")
    app = page.locator("#explorer-app")
    units = app.locator(".units button")
    # The largest measured effect comes first and is what is open.
    assert units.all_inner_texts() == ["1.700\nhi\n●", "0.3\nen", f"5.12\n{URDU}"]
    assert app.locator("article h3").inner_text() == "layer 1, unit 700"
    app.locator("[name=order]").select_option("place")
    assert units.all_inner_texts() == ["0.3\nen", "1.700\nhi\n●", f"5.12\n{URDU}"]
    app.locator("[name=language]").select_option(label="hi")
    assert units.count() == 1
    assert app.locator("article h3").inner_text() == "layer 1, unit 700"
    assert "×1.200" in app.locator("article .facts").inner_text()
    app.locator("[name=language]").select_option(label="all")
    app.locator("[name=order]").select_option("effect")
    assert units.first.inner_text().startswith("1.700")
    app.locator("[name=layer]").select_option("5")
    assert app.locator("article h3").inner_text() == "layer 5, unit 12"
    app.locator("[name=layer]").select_option("-1")
    app.locator("[name=unit]").fill("0.")
    assert units.count() == 1
    assert "effect\nnot measured in this run" in app.locator("article .facts").inner_text()
    app.locator("[name=unit]").fill("4.4")
    assert app.locator("article h3").inner_text() == "No such unit here"
    assert "holds no unit 4.4" in app.locator("article").inner_text()
    app.locator("[name=unit]").fill("")
    app.locator("[name=layer]").select_option("5")
    app.locator("[name=unit]").fill("0.3")
    assert "not with this language and layer" in app.locator("article").inner_text()


def test_explorer_shows_distributions_passages_and_neighbours(visit):
    page = opened(visit(), "explorer")
    app = page.locator("#explorer-app")
    app.locator(".units button").nth(1).click()
    assert app.locator(".ridges g").count() == 3
    assert app.locator(".ridges g.own").count() == 1
    app.locator(".ridges g.own text").first.hover()
    assert page.locator("#tip").inner_text().startswith("en: above 0 in 40.0 % of tokens")
    first = app.locator(".passages li").first
    assert first.locator("mark").inner_text() == "marked"
    assert EVIL in first.inner_text()  # shown, not obeyed: the page would report a dialog
    assert "⏎ end" in first.inner_text()
    colours = first.locator(".token")
    assert [colours.nth(at).get_attribute("data-tip") for at in (0, 1)] == [
        "60 % of the marked token's activation or more",
        "below a tenth of the marked token's activation",
    ]
    clear = "text => getComputedStyle(text).backgroundColor"
    assert colours.nth(0).evaluate(clear) != colours.nth(1).evaluate(clear)
    link = app.locator(".near button").first
    assert link.inner_text() == "layer 1, unit 700"
    link.click()
    assert app.locator("article h3").inner_text() == "layer 1, unit 700"
    assert "r = −0.25" in app.locator(".near").inner_text()


def test_explorer_link_leads_to_its_neuron(visit, file):
    page = visit(where=file.as_uri() + "#neuron=lape/5/12")
    app = page.locator("#explorer-app")
    assert app.locator("article h3").inner_text() == "layer 5, unit 12"
    text = app.locator(".passages p").first
    assert text.evaluate("text => getComputedStyle(text).direction") == "ltr"  # begins so
    assert app.locator(".share").get_attribute("data-copy") == page.url
    app.locator(".units button").nth(1).click()
    assert page.url.endswith("#neuron=lape/0/3")
    page.evaluate("hash => { location.hash = hash; }", "#neuron=%E0%A4%A")
    assert app.locator("article h3").inner_text() == "layer 0, unit 3"
    for odd, said in (("lape/9/9", "holds no unit 9 in layer 9"), ("odd/0/3", "no neuron set odd")):
        page.evaluate("hash => { location.hash = hash; }", f"#neuron={odd}")
        assert said in app.locator("article").inner_text()


def test_explorer_right_to_left_passage(visit, tmp_path):
    folder = write_run(tmp_path, small_tables())
    explored(folder, SMALL, text=URDU)
    page = opened(visit(where=report(folder).as_uri()), "explorer")
    text = page.locator("#explorer-app .passages p").first
    assert text.evaluate("text => getComputedStyle(text).direction") == "rtl"


def test_a_large_explorer_keeps_the_page_small_and_is_whole_when_served(visit, large):
    assert large.stat().st_size < 8_000_000
    assert list((large.parent / "explorer").glob("*.json"))
    link = "#neuron=lape/5/99"
    page = visit(where=large.as_uri() + link)
    app = page.locator("#explorer-app")
    assert app.locator("article h3").inner_text() == "layer 5, unit 99"
    assert "langneurons explore" in app.locator("article").inner_text()
    with server(large.parent) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        try:
            page = visit(where=f"http://127.0.0.1:{served.server_address[1]}/{link}")
            page.locator("#explorer-app .passages li").first.wait_for()
            assert page.locator("#explorer-app article h3").inner_text() == "layer 5, unit 99"
            assert page.locator("#explorer-app .ridges g").count() == 3
        finally:
            served.shutdown()
            thread.join()


def test_works_without_script(visit):
    page = visit(java_script_enabled=False)
    assert page.locator("#tabs-perplexity > section").nth(1).is_visible()
    assert page.locator("#tab-other_passages").is_visible()


@pytest.mark.parametrize("width", [1400, 390])
def test_the_first_screen_is_the_answer_and_its_figure(visit, width):
    page = visit(width=width)
    shown = page.locator("#answer")
    assert "zero-shot transfer" in shown.locator(".question").inner_text()
    assert shown.locator(".verdict").is_visible()
    assert shown.locator(".findings li").count() <= 3
    box = shown.locator("#fig-answer svg").bounding_box()
    assert box["y"] < 900
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    sections = page.locator("section.part")
    assert not any(sections.nth(at).locator(".body").is_visible() for at in range(sections.count()))
    page.locator("#neurons > h2 button").click()
    assert page.locator("#fig-neurons_lape svg").is_visible()


def test_every_figure_is_whole_on_a_phone_and_can_be_enlarged(visit):
    page = visit(width=390)
    page.locator("nav summary").click()
    page.locator("#fold").click()
    figures = page.locator("figure svg:visible")
    assert figures.count() > 3
    for at in range(figures.count()):
        box = figures.nth(at).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    figure = page.locator("#fig-neurons_lape")
    figure.locator(".enlarge").click()
    assert figure.locator("svg").bounding_box()["width"] > 500
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_term_is_explained_one_click_away(visit):
    page = visit()
    gloss = page.locator("#what-control")
    assert not gloss.is_visible()
    page.locator("#answer .what button", has_text="a control").click()
    assert gloss.is_visible()
    assert "drawn at random" in gloss.inner_text()


def test_a_link_opens_what_is_folded(visit, file):
    page = visit(where=file.as_uri() + "#tab-perplexity")
    assert page.locator("#tab-perplexity tbody tr:visible").count() == 25
    page.locator("nav a[href='#neurons']").click()
    assert page.locator("#fig-neurons_lape svg").is_visible()
