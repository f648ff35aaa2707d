"""The page around a session: Gradio components, and nothing about models."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from langneurons.errors import InputError, LangNeuronsError
from langneurons.play import examples, render
from langneurons.play.change import ACTIONS, SCOPES, Change
from langneurons.play.session import MOST_WRITTEN, Session
from langneurons.reporting.nouns import many

if TYPE_CHECKING:
    from gradio import Blocks

HOST = "127.0.0.1"
SECONDS_BETWEEN_FRAMES = 0.1
"""A browser need not draw every token of a fast model."""

_CSS = """
.gradio-container { max-width: 1500px !important; }
#ln-head h1 { font-size: 22px; margin: 0 0 4px; }
#ln-head p { margin: 0; font-size: 14px; color: var(--ln-quiet); }
"""


def gradio() -> Any:
    """Gradio, with its reports of use switched off.

    Raises:
        InputError: If it is not installed.
    """
    # Read when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio as library
    except ImportError as error:
        raise InputError("the live page needs Gradio: pip install 'langneurons[play]'.") from error
    return library


def answers(session: Session, *values: Any) -> Iterator[tuple[str | None, str]]:
    """What the page shows for what stands in its fields, step by step.

    Args:
        session: The session.
        *values: Prompt, languages, action, percentile, factor, other language, scope, layers,
            length, temperature, seed, as the fields hold them (None where one is empty).

    Yields:
        HTML of the columns (None leaves them), HTML of the line above them. Whatever goes wrong is
        a sentence there.
    """
    yield None, render.note("Reading the prompt ...")
    try:
        yield from _answers(session, *values)
    except LangNeuronsError as error:
        yield None, render.problem(str(error))
    except Exception as error:
        logging.getLogger(__name__).exception("the live page")
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        yield None, render.problem(f"this did not work ({said}); the terminal says more.")


def _answers(
    session: Session,
    prompt: str | None,
    languages: list[str] | None,
    action: str,
    percentile: float | None,
    factor: float | None,
    source: str | None,
    scope: str,
    layers: str | None,
    tokens: float | None,
    temperature: float | None,
    seed: float | None,
) -> Iterator[tuple[str | None, str]]:
    for name, value in (("length", tokens), ("temperature", temperature), ("seed", seed)):
        if value is None:
            raise InputError(f"the field {name} is empty: put a number there.")
    assert tokens is not None
    assert temperature is not None
    assert seed is not None
    change = Change(tuple(languages or ()), action, percentile, factor, source, scope, layers or "")
    frames = session.run(
        prompt or "", change, tokens=int(tokens), temperature=temperature, seed=abs(int(seed))
    )
    shown = 0.0
    for frame in frames:
        if frame.last or time.monotonic() - shown >= SECONDS_BETWEEN_FRAMES:
            shown = time.monotonic()
            yield render.columns(frame), render.status(frame)


def page(session: Session) -> Blocks:
    """The page, to be launched with :func:`launch_options`.

    Raises:
        InputError: If Gradio is not installed.
    """
    gr = gradio()
    start = examples.prompts(session.lm.name, session.languages)
    chosen = "hi" if "hi" in start else next(iter(start), "")
    sizes, units = session.neurons.sizes(), many(session.neurons.site)
    languages = [(f"{lang} ({sizes[lang]})", lang) for lang in session.languages]
    known = list(session.known)
    actions = [key for key in ACTIONS if known or key in ("off", "multiply")]
    with gr.Blocks(title=f"langneurons: {session.lm.name}", analytics_enabled=False) as made:
        gr.HTML(
            f"<h1>What do the language {units} of {escape(session.lm.name)} do?</h1>"
            f"<p>Change the {units} of a language and read what the model then writes, beside the "
            f"same change of random {units}. One text is an impression; a measurement is "
            "<code>langneurons perplexity</code>.</p>",
            elem_id="ln-head",
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                prompt = gr.Textbox(
                    start.get(chosen, ""), label="Beginning of a text, in any language",
                    lines=4, max_lines=12, elem_id="ln-prompt",
                )  # fmt: skip
                if start:
                    picked = gr.Radio(
                        list(start), value=chosen or None, label="Examples", elem_id="ln-examples"
                    )
                    picked.change(
                        start.get, picked, prompt, queue=False, show_progress="hidden",
                        api_visibility="private",
                    )  # fmt: skip
                chosen_languages = gr.CheckboxGroup(
                    languages, value=[chosen] if sizes.get(chosen) else [],
                    label=f"Languages whose {units} are changed (how many there are)",
                    elem_id="ln-languages",
                )  # fmt: skip
                action = gr.Radio(
                    [(ACTIONS[key], key) for key in actions], value="off",
                    label="What happens to them", elem_id="ln-action",
                )  # fmt: skip
                percentile = gr.Number(
                    90, label="Percentile, 0 to 100", visible=False, elem_id="ln-percentile"
                )
                factor = gr.Number(2, label="Factor", visible=False, elem_id="ln-factor")
                source = gr.Dropdown(
                    known, value=known[0] if known else None, label="Whose mean", visible=False,
                    elem_id="ln-source",
                )  # fmt: skip
                with gr.Row():
                    run = gr.Button("Write", variant="primary", elem_id="ln-run", min_width=120)
                    stop = gr.Button("Stop", elem_id="ln-stop", min_width=80)
                with gr.Accordion("Where, how long, how", open=False):
                    scope = gr.Radio(
                        [(words, key) for key, words in SCOPES.items()], value="all",
                        label="At which tokens", elem_id="ln-scope",
                    )  # fmt: skip
                    layers = gr.Textbox(
                        "", label="Layers", placeholder="all; or such as 0-3, 7",
                        info=f"0 to {session.lm.layers - 1}", elem_id="ln-layers",
                    )  # fmt: skip
                    tokens = gr.Number(
                        60, label=f"Tokens to write, 1 to {MOST_WRITTEN}", precision=0,
                        elem_id="ln-tokens",
                    )  # fmt: skip
                    temperature = gr.Number(
                        0, label="Temperature, 0 to 2 (0: the likeliest token)",
                        elem_id="ln-temperature",
                    )  # fmt: skip
                    seed = gr.Number(
                        0, label=f"Seed of the random {units} and of drawn tokens", precision=0,
                        elem_id="ln-seed",
                    )  # fmt: skip
            with gr.Column(scale=5, min_width=300):
                line = gr.HTML(render.note("Press Write."), elem_id="ln-line")
                shown = gr.HTML("", elem_id="ln-shown")
        fields = [
            prompt, chosen_languages, action, percentile, factor, source, scope, layers, tokens,
            temperature, seed,
        ]  # fmt: skip

        def show(name: str) -> list[Any]:
            wanted = ("percentile", "multiply", "other")
            return [gr.update(visible=name == one) for one in wanted]

        def write(*values: Any) -> Iterator[tuple[Any, str]]:
            for html, words in answers(session, *values):
                yield gr.skip() if html is None else html, words

        action.change(
            show, action, [percentile, factor, source], queue=False, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
        running = gr.on(
            [run.click, prompt.submit], write, fields, [shown, line], show_progress="hidden",
            concurrency_limit=1, api_visibility="private",
        )  # fmt: skip
        # One after the other, or a last line of the writing would come after the word.
        stop.click(
            None, cancels=[running], queue=False, show_progress="hidden", api_visibility="private"
        ).then(
            lambda: render.note("Stopped."), None, line, queue=False, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
    made.queue(max_size=20)
    blocks: Blocks = made
    return blocks


def launch_options() -> dict[str, Any]:
    """How :func:`page` is launched: fonts of this machine, no links, no errors with traces."""
    gr = gradio()
    sans = ["system-ui", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
    return {
        "theme": gr.themes.Base(
            primary_hue="blue", font=sans, font_mono=["ui-monospace", "monospace"]
        ),
        "css": _CSS + render.STYLE,
        "footer_links": [],
        "show_error": False,
        "ssr_mode": False,
        "quiet": True,
    }


def launch(session: Session, port: int = 0, *, share: bool = False) -> tuple[Blocks, str]:
    """Serve the page on 127.0.0.1, in a thread of its own.

    Args:
        session: The session.
        port: Port; 0 takes a free one.
        share: Whether Gradio makes a public link to it as well, through a server of its own.

    Returns:
        The page (``close()`` ends it) and its address.

    Raises:
        InputError: If Gradio is not installed, or the port is taken.
    """
    made = page(session)
    try:
        _, local, public = made.launch(
            server_name=HOST, server_port=port or free_port(), share=share, inbrowser=False,
            prevent_thread_lock=True, **launch_options(),
        )  # fmt: skip
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {HOST}:{port}: take another port.") from error
    return made, public or local


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    import socket

    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])
