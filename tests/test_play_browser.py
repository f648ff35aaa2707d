"""The live page in a real browser: somebody types, switches Hindi off and reads the answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from browser import chromium, watch
from langneurons.errors import InputError
from langneurons.play import examples, open_session, page

pytestmark = pytest.mark.slow

HINDI = examples.prompts("mini", ["hi"])["hi"]
EVIL = "<img src=x onerror=alert(1)> ${alert(2)} {{alert(3)}} <script>alert(4)</script>"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The page of the built-in world; its address and its session."""
    pytest.importorskip("gradio", reason="the extra play is not installed")
    before = os.environ.get("LANGNEURONS_CACHE")
    os.environ["LANGNEURONS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    session = open_session()
    made, address = page.launch(session)
    yield address, session
    made.close(verbose=False)
    if before is None:
        del os.environ["LANGNEURONS_CACHE"]
    else:
        os.environ["LANGNEURONS_CACHE"] = before


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


@pytest.fixture(params=[1400, 390])
def width(request):
    return request.param


@pytest.fixture
def visit(browser, served):
    opened = []

    def go(width=1400):
        context = browser.new_context(viewport={"width": width, "height": 900})
        seen = context.new_page()
        watch(seen, (served[0], "data:", "blob:"))
        seen.goto(served[0])
        seen.locator("#ln-run").wait_for()
        seen.locator("summary, button", has_text="Where, how long, how").first.click()
        seen.locator("#ln-tokens input").fill("12")
        opened.append((context, seen))
        return seen

    yield go
    for context, seen in opened:
        assert seen.problems == []
        context.close()


def write(seen):
    """Press Write and wait for the end; the texts that the model wrote, by kind of column."""
    # A short answer is there before anybody has read that it is being written.
    seen.evaluate("document.querySelector('#ln-line [class^=ln-]').classList.add('old')")
    seen.locator("#ln-run").click()
    seen.locator("#ln-line .ln-status:not(.old)", has_text="Written:").wait_for()
    return written(seen)


def written(seen):
    return {
        kind: "".join(seen.locator(f".ln-{kind} .ln-written").all_text_contents())
        for kind in ("plain", "own", "control")
    }


def test_hindi_switched_off_changes_the_answer(visit, width):
    seen = visit(width)
    seen.locator("#ln-prompt textarea").fill(HINDI)
    hindi = seen.locator("#ln-languages input[name=hi], #ln-languages label", has_text="hi (")
    box = hindi.first.locator("input") if hindi.first.locator("input").count() else hindi.first
    box.uncheck()
    assert write(seen)["own"] == ""  # no language chosen: the model alone
    assert "No language is chosen" in seen.locator("#ln-line").inner_text()
    plain = written(seen)["plain"]
    box.check()
    after = write(seen)
    assert after["plain"] == plain
    assert after["own"] != plain
    assert after["own"]
    assert after["control"]
    # The language is named, every token has a loss, and neurons that are off do not fire.
    assert "Devanagari" in seen.locator(".ln-own .ln-facts").inner_text() or "hi" in (
        seen.locator(".ln-own .ln-facts b").inner_text()
    )
    tips = seen.locator(".ln-own .ln-text span").evaluate_all("all => all.map(one => one.title)")
    assert tips[0].startswith("no loss")
    assert all(tip.startswith("loss ") and "hi 0%" in tip for tip in tips[1:])
    assert seen.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_bad_input_is_a_sentence_on_the_page_and_mends_itself(visit):
    seen = visit()
    seen.locator("#ln-prompt textarea").fill("   ")
    seen.locator("#ln-run").click()
    said = seen.locator("#ln-line [role=alert]")
    said.wait_for()
    assert said.inner_text() == "There is no prompt: write the beginning of a text."
    seen.locator("#ln-prompt textarea").fill(HINDI)
    seen.locator("#ln-layers input, #ln-layers textarea").first.fill("2-99")
    seen.locator("#ln-run").click()
    seen.locator("#ln-line [role=alert]", has_text="the model has layers 0 to 3").wait_for()
    seen.locator("#ln-layers input, #ln-layers textarea").first.fill("0-3")
    assert write(seen)["own"]
    assert "Traceback" not in seen.content()


def test_what_is_typed_is_text_and_never_markup(visit):
    seen = visit()
    seen.locator("#ln-prompt textarea").fill(EVIL)
    write(seen)
    shown = "".join(seen.locator(".ln-plain .ln-read").all_text_contents())
    assert shown  # the built-in tokenizer knows few signs; none of them became an element
    assert seen.locator("#ln-shown img, #ln-shown script").count() == 0


def test_choices_show_the_fields_they_need(visit):
    seen = visit()
    percentile = seen.locator("#ln-percentile input")
    assert percentile.count() == 0 or not percentile.is_visible()
    seen.locator("#ln-action label", has_text="percentile").click()
    percentile.wait_for()
    percentile.fill("150")
    seen.locator("#ln-run").click()
    seen.locator("#ln-line [role=alert]", has_text="within 0 to 100, not 150").wait_for()
    seen.locator("#ln-action label", has_text="another language").click()
    seen.locator("#ln-source").wait_for()
    assert write(seen)["own"]


def test_an_example_fills_the_prompt(visit):
    seen = visit()
    before = seen.locator("#ln-prompt textarea").input_value()
    seen.locator("#ln-examples label", has_text="fr").click()
    for _ in range(100):
        now = seen.locator("#ln-prompt textarea").input_value()
        if now != before:
            break
        time.sleep(0.1)
    assert now == examples.prompts("mini", ["fr"])["fr"]


def test_stop_stops(visit, served):
    session = served[1]
    seen = visit()
    seen.locator("#ln-tokens input").fill("250")
    seen.locator("#ln-run").click()
    seen.locator("#ln-line", has_text="Writing").wait_for()
    seen.locator("#ln-stop").click()
    seen.locator("#ln-line", has_text="Stopped").wait_for()
    time.sleep(0.5)  # the step that was running may end
    passes = []
    handle = session.lm.decoder.register_forward_hook(lambda *_: passes.append(1))
    time.sleep(1.5)
    handle.remove()
    assert passes == []
    assert "Stopped" in seen.locator("#ln-line").inner_text()
    seen.locator("#ln-tokens input").fill("5")
    assert write(seen)["plain"]


def test_a_port_in_use_is_said(served):
    port = int(served[0].rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match="take another port"):
        page.launch(served[1], port)


def test_the_command_serves_on_this_machine_alone_and_ends_with_ctrl_c(browser, tmp_path):
    pytest.importorskip("gradio", reason="the extra play is not installed")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "langneurons", "play"], env=environment, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Where the tests run in the background, Ctrl-C is ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    timer = threading.Timer(300, process.kill)
    timer.start()
    try:
        line = process.stdout.readline()
        assert line.startswith("Page: http://127.0.0.1:"), process.stderr.read()
        seen = browser.new_page()
        seen.goto(line.split()[1])
        seen.locator("#ln-run").wait_for()
        seen.close()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        timer.cancel()
        process.kill()
    assert "Traceback" not in errors
    assert process.returncode in (0, 130)
