"""The live page's session: what it writes, loses and sees firing, held against plain PyTorch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from langneurons.errors import InputError, RunError
from langneurons.evaluation import generate
from langneurons.evaluation.token_loss import find_head
from langneurons.identification import NeuronSet, Units
from langneurons.intervention import Intervention, Value, intervene
from langneurons.models import hook_site, wrap
from langneurons.play import ACTIONS, SCOPES, Change, Session, interventions, name_language, scripts
from langneurons.play.change import parse_layers
from langneurons.play.session import MOST_PROMPT
from langneurons.play.stream import Streams
from langneurons.play.text import Text
from langneurons.statistics import collect

PROMPT = "the cat and the dog"
TEXTS = {
    "en": ["the cat and the dog and the cat sat", "a dog saw the cat"],
    "hi": ["बिल्ली और कुत्ता", "कुत्ता बिल्ली को देखता है"],
}


def neurons(lm, size=12):
    every = torch.arange(lm.layers * lm.sites["mlp.act"].width)
    drawn = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(1))]
    width = lm.sites["mlp.act"].width
    parts = {"en": drawn[:size], "hi": drawn[size : 2 * size]}
    units = {lang: Units(part // width, part % width) for lang, part in parts.items()}
    return NeuronSet(units, (lm.layers, width))


def session(family="llama", statistics=True, **changes):
    lm = tiny.lm(family, **changes)
    stats = collect(lm, TEXTS, block=32, rows=100) if statistics else None
    return Session(lm, neurons(lm), stats)


@pytest.fixture(scope="module")
def made():
    return session()


def last(played, *words, **options):
    *_, frame = played.run(*words, **options)
    return frame


def text_of(lm, frame, place):
    return "".join(piece.text for piece in frame.columns[place].pieces)


@pytest.mark.parametrize(
    "family", ["llama", "gemma2", "gemma3", "gpt2", "bloom", "opt", "falcon-heads", "cohere"]
)
def test_columns_are_what_the_model_generates_with_and_without_the_change(family):
    played = session(family, statistics=False)
    lm, ids = played.lm, tiny.tokenizer()(PROMPT)["input_ids"]
    change = Change(("hi",), "multiply", factor=3.0)
    frame = last(played, PROMPT, change, tokens=8)
    control, _ = played.control(0)
    for column, units in zip(
        frame.columns, (None, played.neurons["hi"], control["hi"]), strict=True
    ):
        what = None if units is None else Intervention(units, 3.0, "multiply")
        with intervene(lm, what):
            (expected,) = generate(lm, [ids], stop="\0never", max_new_tokens=8)
        assert column.text.strip() == expected.text


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_is_that_of_generation(made, scope):
    lm, ids = made.lm, tiny.tokenizer()(PROMPT)["input_ids"]
    change = Change(("hi", "en"), "multiply", factor=-4.0, scope=scope)
    frame = last(made, PROMPT, change, tokens=8)
    what = [
        Intervention(made.neurons[lang], -4.0, "multiply", scope=scope) for lang in ("hi", "en")
    ]
    given = torch.tensor([ids])
    with intervene(lm, what):
        output = lm.model.generate(
            input_ids=given, attention_mask=torch.ones_like(given), do_sample=False,
            max_new_tokens=8, eos_token_id=None,
        )  # fmt: skip
    assert frame.columns[1].text == lm.tokenizer.decode(output[0, len(ids) :])


@pytest.mark.parametrize("family", ["llama", "gemma2", "bloom"])
def test_losses_and_active_shares_are_those_of_one_plain_pass(family):
    played = session(family)
    lm, tokenizer = played.lm, tiny.tokenizer()
    change = Change(("hi",), "mean")
    frame = last(played, PROMPT, change, tokens=6)
    # The same tokens once more, whole, in one pass and in float64 from the logits on.
    ids = list(tokenizer(PROMPT)["input_ids"])
    with intervene(lm, played.neurons["hi"], Value.mean(played.statistics, "hi")):
        for _ in range(6):
            ids.append(int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()))
        seen = {}
        with hook_site(lm, "mlp.act", lambda layer, act: seen.update({layer: act[0].clone()})):
            logits = lm.model(torch.tensor([ids])).logits[0].double()
    losses = -torch.log_softmax(logits[:-1], -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    total = sum(piece.loss or 0.0 for piece in frame.columns[1].pieces)
    assert sum(piece.tokens for piece in frame.columns[1].pieces) == len(ids)
    assert total == pytest.approx(float(losses.sum()), rel=1e-4)
    prompt = len(tokenizer(PROMPT)["input_ids"])
    assert frame.columns[1].prompt_loss == pytest.approx(
        float(losses[: prompt - 1].mean()), rel=1e-4
    )
    for place, lang in enumerate(played.languages):
        units = played.neurons[lang]
        above = torch.stack(
            [
                seen[layer][:, unit] > 0
                for layer, unit in zip(units.layers.tolist(), units.indices.tolist(), strict=True)
            ]
        )
        shares = above.double().mean(0)
        pieces = frame.columns[1].pieces
        weighted = sum(piece.active[place] * piece.tokens for piece in pieces)
        assert weighted == pytest.approx(float(shares.sum()), abs=1e-4)


def test_first_token_has_no_loss_and_a_switched_off_neuron_is_not_active(made):
    frame = last(made, PROMPT, Change(("hi",)), tokens=5)
    assert frame.columns[1].pieces[0].loss is None
    place = made.languages.index("hi")
    assert all(piece.active[place] == 0 for piece in frame.columns[1].pieces)
    assert any(piece.active[place] > 0 for piece in frame.columns[0].pieces)
    assert any(piece.active[place] > 0 for piece in frame.columns[2].pieces)


def test_frames_grow_by_a_token_and_end_once(made):
    frames = list(made.run(PROMPT, Change(("en",)), tokens=5))
    assert [frame.written for frame in frames] == [0, 1, 2, 3, 4, 5, 5]
    assert [frame.last for frame in frames] == [False] * 6 + [True]
    kinds = [column.kind for column in frames[-1].columns]
    assert kinds == ["plain", "own", "control"]
    titles = [column.title for column in frames[-1].columns]
    assert titles == [
        "The model as it is", "12 neurons of en: off", "12 equally active others: off",
    ]  # fmt: skip


def test_without_a_language_there_is_the_model_alone(made):
    frame = last(made, PROMPT, Change(), tokens=3)
    assert [column.kind for column in frame.columns] == ["plain"]
    assert "No language is chosen" in frame.note


def test_without_statistics_controls_are_random_and_it_says_so():
    played = session(statistics=False)
    frame = last(played, PROMPT, Change(("hi",)), tokens=2)
    assert frame.columns[2].title == "12 random others: off"
    assert "no statistics of all languages" in frame.note
    with pytest.raises(InputError, match="needs statistics"):
        next(played.run(PROMPT, Change(("hi",), "mean")))


def test_runs_that_take_turns_do_not_touch_each_other(made):
    first, second = Change(("hi",), "multiply", factor=9.0), Change(("en",), "multiply", factor=9.0)
    alone = [last(made, PROMPT, change, tokens=6).columns for change in (first, second)]
    runs = [made.run(PROMPT, change, tokens=6) for change in (first, second)]
    ends = [None, None]
    for _ in range(8):
        for place, run in enumerate(runs):
            ends[place] = next(run).columns
    assert ends == alone


def test_a_row_of_a_batch_writes_what_it_writes_alone(made):
    """Prompt and continuation of three rows at once and one at a time, in float64."""
    lm = wrap(tiny.model("gemma3").double(), tiny.tokenizer(), "tiny")
    found = neurons(lm)
    ids = tiny.tokenizer()(PROMPT)["input_ids"]
    plans = [
        [],
        [Intervention(found["hi"], -3.0, "multiply"), Intervention(found["en"], scope="prompt")],
        [Intervention(found["en"], 2.0, scope="generated")],
    ]
    head = find_head(lm)
    together = Streams(lm, head, plans, found, frozenset())
    alone = [Streams(lm, head, [plan], found, frozenset()) for plan in plans]
    read = together.read(ids)
    for row, one in enumerate(alone):
        (single,) = one.read(ids)
        assert [active for _, active in read[row]] == [active for _, active in single]
        losses = [[loss for loss, _ in line[1:]] for line in (read[row], single)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for _ in range(6):
        chosen = together.choose(None)
        singles = [one.choose(None)[0] for one in alone]
        assert [one[0] for one in chosen] == [one[0] for one in singles]
        assert [one[1] for one in chosen] == pytest.approx([one[1] for one in singles], abs=1e-5)
        fed = together.feed([one[0] for one in chosen])
        assert fed == [one.feed([token])[0] for one, (token, _) in zip(alone, chosen, strict=True)]
    assert len({tuple(row.tolist()) for row in together._log_probs}) == len(plans)


def test_a_text_that_ended_lets_the_others_go_on():
    played = session()
    change = Change(("hi",), "multiply", factor=-6.0)
    ends = {}
    for column in last(played, PROMPT, change, tokens=6).columns:
        ends[column.kind] = [piece for piece in column.pieces if piece.written]
    # A token that the changed model writes and the plain one does not ends the text from now on.
    ids = {
        kind: played.lm.tokenizer("".join(piece.text for piece in pieces))["input_ids"]
        for kind, pieces in ends.items()
    }
    (token, *_) = [token for token in ids["own"] if token not in ids["plain"]]
    played.lm.model.generation_config.eos_token_id = token
    again = Session(played.lm, played.neurons, played.statistics)
    frame = last(again, PROMPT, change, tokens=6)
    plain, own, _ = frame.columns
    assert (plain.done, own.done) == (False, True)
    assert plain.text == "".join(piece.text for piece in ends["plain"])
    assert len(own.text) < len("".join(piece.text for piece in ends["own"]))


def test_closing_a_run_leaves_the_model_as_it_was(made):
    run = made.run(PROMPT, Change(("hi",)), tokens=50)
    next(run), next(run)
    run.close()
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks)
             for module in made.lm.model.modules()]  # fmt: skip
    assert sum(hooks) == 0
    with pytest.raises(StopIteration):
        next(run)


def test_the_model_may_end_the_text():
    played = session()
    (first,) = generate(
        played.lm, [tiny.tokenizer()(PROMPT)["input_ids"]], stop="\0never", max_new_tokens=1
    )
    (chosen,) = first.ids
    played.lm.model.generation_config.eos_token_id = chosen
    again = Session(played.lm, played.neurons, played.statistics)
    frame = last(again, PROMPT, Change(), tokens=5)
    assert frame.columns[0].done
    assert frame.written <= 1
    assert frame.columns[0].text == ""


def test_columns_draw_the_same_tokens_where_the_change_changes_nothing(made):
    nothing = Change(("hi",), "multiply", factor=1.0)
    frames = [last(made, PROMPT, nothing, tokens=12, temperature=1.0, seed=s) for s in (1, 1, 2)]
    texts = [[column.text for column in frame.columns] for frame in frames]
    assert len(set(texts[0])) == 1
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_drawn_tokens_follow_the_temperature(made):
    stream = Streams(made.lm, made._head, [[]], made.neurons, frozenset())
    stream.read(tiny.tokenizer()(PROMPT)["input_ids"])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([stream.choose(made._noise(0.7, generator))[0][0] for _ in range(4000)])
    wanted = torch.softmax(stream._log_probs[0].double() / 0.7, -1)
    counts = torch.bincount(drawn, minlength=len(wanted)) / len(drawn)
    # Three standard deviations of a share of 4000 draws, a little more for the largest of many.
    assert float((counts - wanted).abs().max()) < 4.5 * (0.25 / 4000) ** 0.5


def test_values_are_those_asked_for(made):
    stats, units = made.statistics, made.neurons["hi"]
    wanted = {
        "off": torch.zeros(made.neurons.shape),
        "mean": stats.mean("hi"),
        "percentile": stats.quantile("hi", 0.75),
        "other": stats.mean("en"),
        "multiply": torch.full(made.neurons.shape, 2.5),
    }
    assert set(wanted) == set(ACTIONS)
    for action, value in wanted.items():
        change = Change(("hi",), action, percentile=75, factor=2.5, source="en", layers="1")
        (item,) = interventions(change, made.neurons, stats)
        assert item.mode == ("multiply" if action == "multiply" else "set")
        assert set(item.chosen.layers.tolist()) == {1}
        found = item.what.resolve(made.neurons.shape)
        torch.testing.assert_close(found, value.float())
        assert len(item.chosen) == int((units.layers == 1).sum())


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (Change(("de",)), {}, "unknown language of the neuron set 'de'"),
        (Change(("hi",), "of"), {}, "unknown action 'of'. Did you mean 'off'?"),
        (Change(("hi",), scope="al"), {}, "unknown scope 'al'"),
        (Change(("hi",), "percentile", percentile=120), {}, "within 0 to 100, not 120"),
        (Change(("hi",), "percentile", percentile=None), {}, "within 0 to 100"),
        (Change(("hi",), "multiply", factor=None), {}, "must be a number, such as 2"),
        (Change(("hi",), "multiply", factor=float("nan")), {}, "must be a number"),
        (Change(("hi",), "other", source=None), {}, "choose the one whose mean"),
        (Change(("hi",), "other", source="xx"), {}, "unknown language of the statistics 'xx'"),
        (Change(("hi",), layers="a"), {}, "must be numbers and ranges"),
        (Change(("hi",), layers="1-0"), {}, "lower first"),
        (Change(("hi",), layers="9"), {}, "the model has layers 0 to 1"),
        (Change(("hi",)), {"tokens": 0}, "within 1 to"),
        (Change(("hi",)), {"temperature": 9}, "within 0 to 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_runs(made, change, options, said):
    with pytest.raises(InputError, match=said):
        next(made.run(PROMPT, change, **options))


def test_prompts_that_cannot_be_used(made):
    for prompt, said in (
        ("  \n", "there is no prompt"),
        ("the cat " * MOST_PROMPT, "shorten it"),
    ):
        with pytest.raises(InputError, match=said):
            next(made.run(prompt, Change()))


def test_a_prompt_that_is_no_token(made, monkeypatch):
    monkeypatch.setattr("langneurons.play.session.encode_text", lambda *_: [])
    with pytest.raises(InputError, match="makes no token of this prompt"):
        next(made.run("x", Change()))


def test_a_language_without_neurons_in_these_layers():
    lm = tiny.lm()
    width = lm.sites["mlp.act"].width
    found = NeuronSet({"en": Units([0], [1]), "hi": Units([], [])}, (lm.layers, width))
    played = Session(lm, found)
    for change, where in ((Change(("en",), layers="1"), "layers"), (Change(("hi",)), "set")):
        with pytest.raises(InputError, match=f"no neurons in th.*{where}"):
            next(played.run(PROMPT, change))


def test_numbers_out_of_range_are_said():
    played = session(statistics=False)
    with torch.no_grad():
        played.lm.model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(RunError, match="choose a milder change"):
        last(played, PROMPT, Change(("hi",)), tokens=3)


def test_sets_and_statistics_of_another_model_are_refused(made):
    other = tiny.lm(seed=3)
    with pytest.raises(InputError, match="other weights"):
        Session(other, made.neurons, made.statistics)
    pre = collect(made.lm, TEXTS, block=32, rows=10, site="mlp.out")
    with pytest.raises(InputError, match="take the statistics that the neurons were found in"):
        Session(made.lm, made.neurons, pre)
    shape = made.neurons.shape
    with pytest.raises(InputError, match="holds no unit"):
        Session(made.lm, NeuronSet({"en": Units([], [])}, shape))


def plain_layers(parts):
    return tuple(sorted({layer for low, high in parts for layer in range(low, high + 1)}))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 19), st.integers(0, 19)).map(lambda pair: tuple(sorted(pair))),
        min_size=1,
    )
)
def test_layers_as_typed(parts):
    typed = " ,".join(f"{low}-{high}" if low < high else f" {low}" for low, high in parts)
    assert parse_layers(typed, 20) == plain_layers(parts)


@settings(deadline=None, max_examples=60)
@given(st.text(min_size=1, max_size=20))
def test_pieces_make_up_the_text_and_its_loss(written):
    tokenizer = tiny.tokenizer()
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    made = Text(tokenizer)
    for number, token in enumerate(ids):
        made.add(token, float(number), (number / 1000,), written=True)
    made.finish()
    decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert made.written == decoded
    if "\ufffd" not in written:
        assert all("\ufffd" not in piece.text for piece in made.pieces)
    assert sum(piece.tokens for piece in made.pieces) == len(ids)
    assert sum(piece.loss for piece in made.pieces) == sum(range(len(ids)))


def test_scripts_and_names():
    assert scripts("12 !") == {}
    # Vowel signs are marks, no letters.
    assert scripts("सारा लड़की") == {"Devanagari": 1.0}
    assert scripts("सारा a") == pytest.approx({"Devanagari": 2 / 3, "Latin": 1 / 3})
    assert name_language("", ["en", "hi"]) == "no letters"
    # A language that lingua does not know leaves the script, installed or not.
    assert name_language("सारा", ["en", "made-up"]) == "Devanagari script (100 %)"


def test_lingua_names_the_language_where_it_is_installed():
    pytest.importorskip("lingua", reason="the extra language-id is not installed")
    assert name_language("the weather is fine this morning", ["en", "fr"]) == "en"
