"""The live page without a browser: its HTML, its sentences, its folder, its command."""

import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from langneurons.artifacts import digest
from langneurons.errors import InputError
from langneurons.identification import NeuronSet
from langneurons.mini import LANGUAGES
from langneurons.play import Change, Session, examples, open_session, page, render, sources, space
from langneurons.play.session import Column, Frame
from langneurons.play.text import Piece
from langneurons.statistics import Statistics
from test_cli import run as run
from test_play_session import PROMPT, last, session

EVIL = "<img src=x onerror=alert(1)> ${1+1} {{x}}"
NUMBERS = {"percentile": 90, "factor": 2, "tokens": 4, "temperature": 0, "seed": 0}


@pytest.fixture(scope="module")
def made():
    return session()


def shown(played, prompt=PROMPT, languages=("hi",), **fields):
    values = {
        "action": "off", **NUMBERS, "source": "en", "scope": "all", "layers": "", **fields,
    }  # fmt: skip
    order = ("action", "percentile", "factor", "source", "scope", "layers", "tokens",
             "temperature", "seed")  # fmt: skip
    return list(page.answers(played, prompt, list(languages), *[values[name] for name in order]))


def test_answers_are_columns_and_end_with_the_speed(made):
    steps = shown(made)
    assert steps[0] == (None, render.note("Reading the prompt ..."))
    html, line = steps[-1]
    assert html.count('class="ln-col ') == 3
    assert re.search(r"Written: 4 tokens, [\d.]+ a second in each column", line)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": ""}, "There is no prompt: write the beginning of a text."),
        ({"prompt": None}, "There is no prompt"),
        ({"layers": "1-"}, "must be numbers and ranges, such as 0-3, 7."),
        ({"tokens": None}, "The field length is empty: put a number there."),
        ({"seed": None}, "The field seed is empty"),
        ({"tokens": 100_000}, "The length must lie within"),
        ({"action": "percentile", "percentile": None}, "A percentile must lie within"),
        ({"temperature": float("nan")}, "The temperature must lie within"),
        ({"tokens": "many"}, "This did not work"),
        ({"languages": ["<b>"]}, "Unknown language of the neuron set &#x27;&lt;b&gt;&#x27;"),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_what_was_shown(made, fields, said):
    html, line = shown(made, **fields)[-1]
    assert html is None
    assert said in line
    assert "Traceback" not in line
    assert line.startswith('<div class="ln-error"')


class Words(HTMLParser):
    """Text of each span, and every tag."""

    def __init__(self):
        super().__init__()
        self.tags, self.spans = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "span":
            self.spans.append(["", dict(attrs)])

    def handle_data(self, data):
        if self.spans:
            self.spans[-1][0] += data


def parsed(html):
    words = Words()
    words.feed(html)
    return words


def test_every_token_is_shown_with_its_loss_and_nothing_of_it_is_markup():
    pieces = (
        Piece(EVIL, None, 1, (0.5, 0.25), False),
        Piece("ہے", 4.0, 1, (0.0, 1.0), True),
        Piece("x", 40.0, 2, (0.0, 0.0), True),
    )
    column = Column(EVIL, "own", pieces, EVIL, 1.5, True)
    frame = Frame((Column("as it is", "plain", (), "", 2.0, False), column), ("en", EVIL), 2, 1, 1)
    words = parsed(render.columns(frame))
    assert {"img", "script"}.isdisjoint(words.tags)
    spans = [span for span in words.spans if "title" in span[1]]
    assert [text for text, _ in spans][:2] == [EVIL, "ہے"]
    shades = [float(re.search("--loss:([0-9.]+)", at["style"])[1]) for _, at in spans]
    assert shades == [0, pytest.approx(0.375), 0.75]
    assert spans[0][1]["title"] == f"no loss; active: en 50%, {EVIL} 25%"
    assert spans[2][1]["title"].startswith("loss 40.00 nats (2 tokens)")
    # The line under a token has the colour of the language most of whose neurons are active.
    assert f"border-color:{render.COLOURS[0]}80" in spans[0][1]["style"]
    assert f"border-color:{render.COLOURS[1]}ff" in spans[1][1]["style"]
    assert "(−0.50)" in render.columns(frame)


def test_text_runs_as_its_first_letter_does():
    assert render.right_to_left("12 ہے a")
    assert not render.right_to_left("12 a ہے")
    assert not render.right_to_left("12")


def test_a_text_that_ends_at_once_is_said():
    column = Column("as it is", "plain", (), "", None, True)
    assert "writes nothing" in render.status(Frame((column,), ("en",), 0, 0.0, True))


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"pip install 'langneurons\[play\]'"):
        page.gradio()


def test_a_taken_port_is_said(monkeypatch):
    class Taken:
        def launch(self, **_):
            raise OSError("Cannot find empty port")

    monkeypatch.setattr(page, "page", lambda _: Taken())
    monkeypatch.setattr(page, "launch_options", dict)
    with pytest.raises(InputError, match=r"cannot listen on 127\.0\.0\.1:80"):
        page.launch(None, 80)


def test_the_page_reports_to_nobody_and_shares_with_nobody(made, monkeypatch):
    pytest.importorskip("gradio", reason="the extra play is not installed")
    blocks = page.page(made)
    assert blocks.analytics_enabled is False
    options = {}
    monkeypatch.setattr(
        type(blocks), "launch", lambda _, **given: (options.update(given), "http://x/", None)
    )
    assert page.launch(made)[1] == "http://x/"
    assert options["server_name"] == "127.0.0.1"
    assert options["share"] is False


# ---------------------------------------------------------------- examples and sources


def test_the_built_in_world_has_a_prompt_in_every_language():
    found = examples.prompts("mini", LANGUAGES)
    assert list(found) == list(LANGUAGES)
    assert all(len(text) > 10 and "\n" not in text for text in found.values())


def test_other_models_get_prompts_in_languages_that_have_one():
    assert list(examples.prompts("gemma", ["hi", "xx", "en"])) == ["hi", "en"]


def test_a_model_without_neurons_is_refused_before_it_is_loaded():
    with pytest.raises(InputError, match="add --statistics DIR"):
        open_session("not/there")


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    """The built-in world's session, from fewer tokens than usual, in a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "MINI_TOKENS", 600)
        patch.setenv("LANGNEURONS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield open_session()


def test_the_built_in_world_needs_no_files_and_is_collected_once(mini, monkeypatch):
    assert mini.languages == LANGUAGES
    assert all(len(units) for units in mini.neurons.values())
    kept = sources.cache_folder() / "play" / "mini"
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")}
    assert before
    monkeypatch.setattr("langneurons.play.sources.load", lambda *_, **__: mini.lm)
    again = open_session()
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")} == before
    assert again.neurons == mini.neurons


def test_hindi_off_changes_what_the_built_in_model_writes_in_hindi(mini):
    prompt = examples.prompts("mini", ["hi"])["hi"]
    frame = last(mini, prompt, Change(("hi",)), tokens=12)
    plain, own, _ = frame.columns
    assert plain.text != own.text
    assert own.prompt_loss > plain.prompt_loss


# ---------------------------------------------------------------- the folder of a Space


def test_the_folder_holds_all_that_the_page_needs(mini, tmp_path, monkeypatch):
    monkeypatch.setattr(space, "gradio", lambda: SimpleNamespace(__version__="6.31.0"))
    monkeypatch.setattr(space, "ROWS", 50)
    local = tmp_path / "model"
    local.mkdir()
    (local / "config.json").write_text("{}")
    folder = tmp_path / "space"
    space.export(mini, str(local), folder)
    app = (folder / "app.py").read_text()
    compile(app, "app.py", "exec")
    assert 'MODEL = str(HERE / "model")' in app.replace("'model'", '"model"')
    assert (folder / "model" / "config.json").is_file()
    head = (folder / "README.md").read_text().split("---")[1]
    assert "sdk: gradio" in head
    assert "sdk_version: 6.31.0" in head
    assert "app_file: app.py" in head
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert "gradio==6.31.0" in lines
    assert any(line.startswith("transformers") for line in lines)
    assert not any(line.startswith(("pytest", "ray", "mkdocs")) for line in lines)
    assert (folder / "langneurons" / "play" / "page.py").is_file()
    assert not list(folder.rglob("__pycache__"))
    assert NeuronSet.load(folder / "neurons.json") == mini.neurons
    kept = Statistics.load(folder / "statistics", mini.known)
    for lang in mini.known:
        assert len(kept.keys(lang)) == 50
        assert digest(kept.mean(lang)) == digest(mini.statistics.mean(lang))
        assert (kept.rows(lang, 1) == mini.statistics.rows(lang, 1)[:50]).all()
    Session(mini.lm, NeuronSet.load(folder / "neurons.json"), kept)


@pytest.mark.parametrize("known", [True, False])
def test_the_readme_of_a_space_says_which_others_stand_beside(made, known, tmp_path, monkeypatch):
    monkeypatch.setattr(space, "gradio", lambda: SimpleNamespace(__version__="6.31.0"))
    monkeypatch.setattr(space.shutil, "copytree", lambda *_, **__: None)
    session = made if known else Session(made.lm, made.neurons)
    _, kind = session.control(0)
    assert kind == ("equally active" if known else "random")
    space.export(session, "mini", tmp_path / "space")
    said = " ".join((tmp_path / "space" / "README.md").read_text().split())
    assert ("random neurons that are active as often." in said) is known
    assert "statistics" in {path.name for path in (tmp_path / "space").iterdir()} or not known


def test_a_folder_that_holds_something_is_left_alone(made, tmp_path, monkeypatch):
    monkeypatch.setattr(space, "gradio", lambda: SimpleNamespace(__version__="6.31.0"))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        space.export(made, "mini", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_hub_model_is_named_and_a_file_goes_along(tmp_path):
    assert space._model("google/gemma-3-270m", tmp_path) == "'google/gemma-3-270m'"
    (tmp_path / "a.gguf").write_bytes(b"weights")
    (tmp_path / "out").mkdir()
    assert space._model(str(tmp_path / "a.gguf"), tmp_path / "out") == "str(HERE / 'a.gguf')"
    assert (tmp_path / "out" / "a.gguf").read_bytes() == b"weights"


def test_requirements_of_a_package_that_is_not_installed():
    with pytest.raises(InputError, match="is not installed"):
        space.requirements("6.0", "no-such-package-of-ours")


# ---------------------------------------------------------------- the command


def test_the_command_serves_and_stops(run, made, monkeypatch):
    asked, closed = {}, []
    stop = SimpleNamespace(block_thread=lambda: None, close=lambda verbose: closed.append(True))

    def launch(_, port, share):
        asked.update(port=port, share=share)
        return stop, "http://127.0.0.1:7860/"

    monkeypatch.setattr(page, "gradio", lambda: None)
    monkeypatch.setattr(page, "launch", launch)
    monkeypatch.setattr("langneurons.play.open_session", lambda *_, **__: made)
    code, out, _ = run("play", "--port", "7860")
    assert (code, asked, closed) == (0, {"port": 7860, "share": False}, [True])
    assert "Page: http://127.0.0.1:7860/" in out
    run("play", "--share")
    assert asked["share"] is True


def test_the_command_writes_a_folder(run, made, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "gradio", lambda: None)
    monkeypatch.setattr(space, "gradio", lambda: SimpleNamespace(__version__="6.31.0"))
    monkeypatch.setattr("langneurons.play.open_session", lambda *_, **__: made)
    made.statistics.save(tmp_path / "stats")
    code, out, _ = run(
        "play", "--statistics", str(tmp_path / "stats"), "--export", str(tmp_path / "space")
    )
    assert code == 0
    assert out.startswith(f"Space: {tmp_path / 'space'}")
    assert (tmp_path / "space" / "app.py").is_file()


def test_the_command_says_in_one_line_what_is_missing(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run("play") == (
        2, "", "langneurons: the live page needs Gradio: pip install 'langneurons[play]'.\n",
    )  # fmt: skip
