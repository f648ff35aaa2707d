"""Chromium through Playwright, for the tests of pages."""

import contextlib
import shutil

import pytest

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@contextlib.contextmanager
def chromium():
    """A browser; the test is skipped where Playwright or Chromium is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def watch(page, allowed):
    """Note in ``page.problems`` what a page complains of, opens or asks for elsewhere.

    Args:
        page: A page of Playwright, before it goes anywhere.
        allowed: Beginnings of the addresses that it may ask for.
    """
    page.problems = []

    def said(message):
        if message.type in ("error", "warning"):
            page.problems.append(message.text)

    def asked(request):
        if not request.url.startswith(allowed):
            page.problems.append(request.url)

    page.on("console", said)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("dialog", lambda dialog: (page.problems.append("dialog"), dialog.dismiss()))
    page.on("request", asked)
