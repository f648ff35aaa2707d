"""The explorer's tables against their definitions, its data for the page, and its server."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import signal
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langneurons import mini
from langneurons.data.blocks import make_blocks
from langneurons.errors import InputError
from langneurons.identification import NeuronSet, Units
from langneurons.interface.part import ordered
from langneurons.reporting.explorer.data import PART, UnitSet, payload, unit_sets
from langneurons.reporting.explorer.gather import BINS, explore, save
from langneurons.reporting.explorer.neighbours import neighbours
from langneurons.reporting.explorer.serve import server
from langneurons.reporting.explorer.stored import read_explored
from langneurons.reporting.inputs import Run
from langneurons.statistics import Statistics
from langneurons.statistics.language import LanguageStatistics
from langneurons.statistics.sample import MemoryRows, RowSample, select

LAYERS, UNITS = 3, 7


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(mini.model_path())


@pytest.fixture(scope="module")
def texts():
    return {lang: mini.text(lang, tokens=3000) for lang in ("en", "ur")}


def planted(texts, tokenizer, rows=200, seed=0):
    """Statistics with random rows on real documents."""
    generator = torch.Generator().manual_seed(seed)
    items = {}
    for lang, documents in texts.items():
        kept = select(make_blocks(documents, tokenizer, block=64), rows, seed)
        values = torch.randn((LAYERS, len(kept), UNITS), generator=generator)
        sample = RowSample(
            rows, seed, kept.keys, kept.documents, kept.positions, kept.token_ids,
            MemoryRows(values),
        )  # fmt: skip
        items[lang] = LanguageStatistics(len(kept), (values > 0).sum(1), sample=sample)
    return Statistics("mlp.act", (LAYERS, UNITS), None, items)


NEURONS = NeuronSet(
    {"en": Units([0, 2], [1, 6]), "ur": Units([0, 2, 2], [1, 0, 3])}, (LAYERS, UNITS),
    scores={"en": torch.tensor([0.5, 2.0]), "ur": torch.tensor([1.0, 3.0, 2.0])},
)  # fmt: skip


@pytest.fixture(scope="module")
def statistics(texts, tokenizer):
    return planted(texts, tokenizer)


@pytest.fixture(scope="module")
def found(statistics, texts, tokenizer):
    return explore(statistics, NEURONS, texts, tokenizer, passages=4, before=5, after=3)


def test_distributions_by_definition(found, statistics):
    table = found["distributions"]
    assert len(table) == 4 * 2  # four units in two languages
    for row in table.itertuples():
        rows = {
            lang: statistics.rows(lang, row.layer)[:, row.index].numpy() for lang in ("en", "ur")
        }
        values = rows[row.language].astype(np.float64)
        ends = [np.quantile(item, [0.001, 0.999]) for item in rows.values()]
        low, high = min(pair[0] for pair in ends), max(pair[1] for pair in ends)
        assert (row.low, row.high) == pytest.approx((low, high))
        edges = np.linspace(low, high, BINS + 1)
        counts, _ = np.histogram(np.clip(values, low, high), edges)
        assert sum(row.counts) == len(values)
        assert np.abs(np.array(row.counts) - counts).sum() <= 2  # rounding at a bin's edge
        assert row.q50 == pytest.approx(np.median(values), abs=1e-6)
        assert row.positive == pytest.approx((values > 0).mean())
        assert np.isnan(row.mean)  # these statistics hold no moments


def test_passages_are_the_largest_activations_at_their_own_tokens(
    found, statistics, texts, tokenizer
):
    table = found["passages"]
    for (layer, index), group in table.groupby(["layer", "index"]):
        best: dict[tuple[str, int], float] = {}
        for lang in ("en", "ur"):
            values = statistics.rows(lang, layer)[:, index].tolist()
            for value, document in zip(
                values, statistics.row_documents(lang).tolist(), strict=True
            ):
                key = (lang, document)
                best[key] = max(best.get(key, -np.inf), value)
        expected = sorted(best.values(), reverse=True)[:4]
        assert group.sort_values("rank")["activation"].tolist() == pytest.approx(expected)
    for row in table.itertuples():
        values = statistics.rows(row.language, row.layer)[:, row.index]
        at = int((values - row.activation).abs().argmin())
        whole = row.before.removeprefix("…") + row.token + row.after.removesuffix("…")
        assert any(whole in text for text in texts[row.language])
        token = tokenizer.decode([int(statistics.row_tokens(row.language)[at])])
        assert row.token.strip() == token.strip()
        assert (
            len(tokenizer(row.before.removeprefix("…"), add_special_tokens=False)["input_ids"])
            <= 5 + 1
        )


def test_a_tokenizer_without_offsets_decodes_the_same_token(statistics, texts, tokenizer):
    class Slow:
        is_fast = False

        def __call__(self, *args, return_offsets_mapping, **options):
            assert not return_offsets_mapping
            return tokenizer(*args, **options)

        decode = staticmethod(tokenizer.decode)

    slow = explore(statistics, NEURONS, texts, Slow(), passages=4, before=5, after=3)["passages"]
    fast = explore(statistics, NEURONS, texts, tokenizer, passages=4, before=5, after=3)["passages"]
    assert [a.strip() for a in slow["token"]] == [b.strip() for b in fast["token"]]


def test_documents_that_are_gone_are_left_out(statistics, texts, tokenizer):
    some = {"en": texts["en"], "ur": []}
    assert set(explore(statistics, NEURONS, some, tokenizer)["passages"]["language"]) == {"en"}


def test_only_the_best_units_are_taken(statistics, texts, tokenizer):
    units = explore(statistics, NEURONS, texts, tokenizer, units=1)["units"]
    assert units[["language", "layer", "index"]].values.tolist() == [["en", 2, 6], ["ur", 2, 0]]


def test_other_models_and_counts_are_refused(statistics, texts, tokenizer):
    other = NeuronSet({"en": Units([0], [0])}, (LAYERS, UNITS + 1))
    with pytest.raises(InputError, match="do not belong"):
        explore(statistics, other, texts, tokenizer)
    counts = Statistics.from_counts({"en": torch.ones(LAYERS, UNITS, dtype=torch.int64)}, {"en": 5})
    with pytest.raises(InputError, match="token rows"):
        explore(counts, NEURONS, texts, tokenizer)


def reference(statistics: Statistics, rows: int) -> np.ndarray:
    """Correlation of all units over tokens, each language's mean taken out, in float64."""
    parts = []
    for lang in statistics.languages:
        values = torch.cat([statistics.rows(lang, i)[:rows] for i in range(LAYERS)], dim=1)
        values = values.numpy().astype(np.float64)
        parts.append(values - values.mean(0))
    whole = np.concatenate(parts)
    return (whole.T @ whole) / np.sqrt(np.outer((whole**2).sum(0), (whole**2).sum(0)))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(2, 200))
def test_neighbours_by_definition(texts_, seed, most, rows):
    statistics = planted(*texts_, rows=120, seed=seed)
    chosen = [np.array([1, 4]), np.array([], dtype=np.int64), np.array([0])]
    table = neighbours(statistics, chosen, most, rows)
    whole = reference(statistics, rows)
    for (layer, index), group in table.groupby(["layer", "index"]):
        r = whole[layer * UNITS + index].copy()
        r[layer * UNITS + index] = 0
        expected = np.sort(np.abs(r))[::-1][:most]
        got = group.sort_values("rank")
        assert np.abs(got["correlation"].to_numpy()) == pytest.approx(expected, abs=1e-5)
        flat = got["other_layer"] * UNITS + got["other_index"]
        assert got["correlation"].to_numpy() == pytest.approx(r[flat.to_numpy()], abs=1e-5)


@pytest.fixture(scope="module")
def texts_(texts, tokenizer):
    return texts, tokenizer


def test_a_unit_that_never_changes_has_no_neighbour(texts_):
    statistics = planted(*texts_)
    for lang in statistics.languages:
        statistics[lang].sample.rows.layer(0)[:, 2] = 0.25
    table = neighbours(statistics, [np.array([2]), np.array([3]), np.array([])], 5)
    assert set(table["layer"]) == {1}
    assert not ((table["other_layer"] == 0) & (table["other_index"] == 2)).any()


def sets_with(tmp_path, found, **tables) -> list[UnitSet]:
    save(found, tmp_path / "passages" / "lape")
    explored = read_explored(tmp_path / "passages", ["lape", "none", "../lape"])
    assert list(explored) == ["lape"]
    known = {name: columns for part in ordered() for name, columns in part.columns.items()}
    run = Run(tmp_path, {"languages": ["ur", "en"]}, tables=tables, columns=known)
    return unit_sets(run, explored)


def test_sets_join_what_was_measured_elsewhere(tmp_path, found):
    effects = pd.DataFrame(
        {
            "language": ["ur"], "layer": [2], "index": [3], "ratio": [1.25], "low": [1.1],
            "high": [1.4], "neurons": ["lape"], "value": ["zero"],
        }
    )  # fmt: skip
    shares = pd.DataFrame({"layer": [0], "index": [1], "task_information": [0.125]})
    other = effects.assign(neurons="another")
    (one,) = sets_with(
        tmp_path, found, unit_effects=pd.concat([effects, other]), polysemanticity=shares
    )
    assert one.languages == ("ur", "en")  # the run's order
    assert one.details[2, 3]["f"] == [["perplexity, ur when set to zero", "×1.250 [1.100, 1.400]"]]
    assert one.details[0, 1]["f"] == [["polysemanticity", "task information 0.125"]]
    assert one.order[:2] == ((2, 3), (0, 1))  # a measured effect before a mere fact
    assert one.sizes == {(2, 3): pytest.approx(math.log(1.25))}
    (entry,) = json.loads(payload([one], 10**6).text)
    found = {(layer, index): size for layer, index, _, _, size in entry["units"]}
    assert found[2, 3] == pytest.approx(math.log(1.25), rel=1e-3)
    assert found[0, 1] is None
    assert one.members[0, 1] == {"en": 0.5, "ur": 1.0}
    assert len(one.details[2, 0]["d"]) == 2
    assert len(one.details[2, 0]["p"]) == 4


def many(name: str, count: int) -> UnitSet:
    units = tuple((at // 10, at) for at in range(count))
    evil = "</script><b>&" + name
    details = {
        unit: {"d": [], "p": [[0, 1.0, evil, "x", "y"]], "n": [], "r": [0, 1]} for unit in units
    }
    return UnitSet(name, ("en",), {unit: {"en": 1.0} for unit in units}, units, details)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=3), st.integers(0, 30_000))
def test_every_unit_is_in_the_page_or_in_one_file(sizes, limit):
    sets = [many(f"set{at}", count) for at, count in enumerate(sizes)]
    made = payload(sets, limit)
    index = json.loads(made.text)
    inside = 0
    for at, (one, entry) in enumerate(zip(sets, index, strict=True)):
        assert len(entry["units"]) == len(one.order)
        for layer, unit, _, part, size in entry["units"]:
            assert size is None
            key = f"{layer}.{unit}"
            if part < 0:
                assert entry["details"][key]["p"] == one.details[layer, unit]["p"]
                inside += 1
            else:
                read = json.loads(made.parts[f"{at}-{part}.json"])
                assert len(read) <= PART
                assert read[key]["p"] == one.details[layer, unit]["p"]
    assert (made.inside, made.total) == (inside, sum(sizes))
    details = sum(len(json.dumps(entry["details"]).encode()) for entry in index)
    assert details <= 2 * limit + 100


def test_data_cannot_end_its_script_element():
    made = payload([many("</script>", 3)], 10_000)
    assert "<" not in made.text
    assert json.loads(made.text)[0]["name"] == "</script>"
    assert "</script><b>&" in json.loads(made.text)[0]["details"]["0.0"]["p"][0][2]


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "report"
    (folder / "explorer").mkdir(parents=True)
    (folder / "index.html").write_text("<p>the page</p>", encoding="utf-8")
    (folder / "explorer" / "0-0.json").write_text("{}", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    (folder / "link").symlink_to(tmp_path / "secret.txt")
    with server(folder) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield http_server.server_address
        http_server.shutdown()
        thread.join()


def ask(address, path, host=None, method="GET"):
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{address[1]}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_the_server_gives_the_report_and_nothing_else(served):
    assert served[0] == "127.0.0.1"
    answer, body = ask(served, "/")
    assert (answer.status, body) == (200, b"<p>the page</p>")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert ask(served, "/explorer/0-0.json?x=1")[1] == b"{}"
    assert ask(served, "/", method="HEAD")[1] == b""
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/link", "/explorer", "/none", "/%00"):
        answer, body = ask(served, path)
        assert answer.status == 404, path
        assert b"secret" not in body


def test_the_server_answers_to_its_own_name_only(served):
    assert ask(served, "/", host="localhost:1")[0].status == 200
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
        assert ask(served, "/", host=host)[0].status == 403
    assert ask(served, "/", method="POST")[0].status == 501


def test_a_taken_port_and_a_missing_page_are_said(served, tmp_path):
    with pytest.raises(InputError, match="another port"):
        server(tmp_path / "report", served[1])
    with pytest.raises(InputError, match="langneurons report"):
        server(tmp_path / "none")


@contextlib.contextmanager
def _killed_at_the_end(process):
    try:
        yield
    finally:
        process.kill()


def test_command_serves_until_it_is_stopped(tmp_path):
    report = tmp_path / "report"
    report.mkdir()
    (report / "index.html").write_text("<p>the page</p>", encoding="utf-8")
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    command = [sys.executable, "-m", "langneurons", "explore", str(tmp_path)]
    # Where the tests run in the background, Ctrl-C is ignored, and a child inherits that.
    with (
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process,
        _killed_at_the_end(process),
    ):
        address = process.stdout.readline().split()[1]
        assert address.startswith("http://127.0.0.1:")
        port = int(address.rstrip("/").rpartition(":")[2])
        assert ask(("127.0.0.1", port), "/")[1] == b"<p>the page</p>"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert "passages" in process.stderr.read()  # how to fill the explorer


def test_strengths_are_the_activations_of_the_tokens_shown():
    """Against a plain hook over each document's blocks, and the sampled rows themselves."""
    import langneurons as ln

    lm = ln.load("mini")
    texts = {lang: mini.text(lang, tokens=1500) for lang in ("en", "ur")}
    real = ln.collect(lm, texts, block=48, rows=300)
    neurons = NeuronSet({"en": Units([0, 2], [1, 6]), "ur": Units([1], [3])}, real.shape)
    table = explore(real, neurons, texts, lm.tokenizer, passages=3, before=60, after=9, model=lm)[
        "passages"
    ]
    assert len(table) == 9
    for row in table.itertuples():
        shown = row.before.removeprefix("…") + row.token + row.after.removesuffix("…")
        assert sum(row.lengths) == len(shown)
        at = np.cumsum([0, *row.lengths])
        start = len(row.before.removeprefix("…"))
        place = int(np.searchsorted(at[1:], start + len(row.token) - 1, side="right"))
        assert row.strengths[place] == pytest.approx(row.activation, rel=2e-2, abs=1e-3)
        (text,) = [one for one in texts[row.language] if shown in one]
        blocks = make_blocks([text], lm.tokenizer, block=48)
        kept: list[torch.Tensor] = []
        hooked = ln.models.hook_site(lm, "mlp.act", lambda _, x, to=kept: to.append(x), [row.layer])
        with torch.no_grad(), hooked:
            lm.model(input_ids=blocks.input_ids, attention_mask=blocks.attention_mask.long())
        unit = kept[0][..., row.index][blocks.counted].float().numpy()
        windows = np.lib.stride_tricks.sliding_window_view(unit, len(row.strengths))
        assert np.abs(windows - np.array(row.strengths)).max(1).min() < 2e-2 * abs(unit).max()


def test_without_a_model_no_strength_is_said(found):
    assert not found["passages"]["strengths"].map(len).any()
    assert found["passages"]["lengths"].map(len).all()
