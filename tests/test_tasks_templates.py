"""Input texts by template: the paper's own, the end token, examples that are too long."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import tiny
from langneurons import Study
from langneurons.artifacts import read_json
from langneurons.cli.app import app
from langneurons.config.inputs import task_identity
from langneurons.data.tasks import (
    NLIExample,
    QAExample,
    draw_within,
    encode_answer,
    encode_example,
    fitting,
    get_task,
)
from langneurons.errors import InputError
from langneurons.evaluation import Scores, evaluate
from langneurons.evaluation.likelihood import encode_continuation
from langneurons.evaluation.qa import cut_answer, qa_row
from langneurons.finetuning.examples import encode_items
from langneurons.finetuning.recipe import Recipe
from langneurons.finetuning.run import _examples
from langneurons.models.loading import load_tokenizer
from study_world import build

GEMMA = Path(__file__).resolve().parents[1] / "real-models" / "gemma-3-270m-q4_k_m.gguf"

PAIR = NLIExample("0", "0", "The cat runs", "A dog", 0)
QUESTION = QAExample("0", "0", "The cat runs.", "Who runs?", ("The cat",))
PROMPT = """Below is an instruction that describes a task, paired with an input that provides \
further context. Write a response that appropriately completes the request.

            ### Instruction:
            Answer the question based on the given context.

            ### Input:
            Context: The cat runs.\x20
            Question: Who runs?

            ### Response:"""


@pytest.mark.parametrize("name", ["xnli", "paws-x", "mini-nli"])
def test_the_papers_pair_holds_the_end_token_once_and_whole(name):
    tokenizer = tiny.tokenizer()
    ids = encode_example(get_task(name, template="paper"), PAIR, tokenizer).ids
    assert ids == tokenizer(f"The cat runs {tokenizer.eos_token} A dog")["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize("name", ["xquad", "squad", "mlqa", "mini-qa"])
def test_the_papers_question_and_an_answer_that_the_end_token_ends(name):
    task, tokenizer = get_task(name, template="paper"), tiny.tokenizer()
    example = (
        QUESTION if name != "mini-qa" else QAExample(**{**vars(QUESTION), "extra": {"lang": "en"}})
    )
    prompt = encode_example(task, example, tokenizer)
    assert tokenizer.decode(prompt.ids) == PROMPT
    answer = encode_answer(task, example, tokenizer, prompt)
    assert tokenizer.decode(answer) == f" The cat{tokenizer.eos_token}"
    assert answer[-1] == tokenizer.eos_token_id
    assert task.max_answer_tokens == 100


def test_the_end_token_of_a_template_goes_through_every_reader():
    """Also where a text is scored or its context shortened."""
    tokenizer = tiny.tokenizer()
    task = get_task("mini-nli", template="{premise}{eos}{hypothesis}")
    example = task.examples("en", "test", 1)[0]
    whole = len(encode_example(task, example, tokenizer).ids)
    short = encode_example(task, example, tokenizer, whole - 5)
    assert short.cut > 0
    scored = [encode_continuation(tokenizer, *pair) for pair in task.verbalised(example, "en")]
    for ids in (short.ids, *(item.ids for item in scored)):
        assert ids.count(tokenizer.eos_token_id) == 1


def test_long_examples_are_left_out_in_evaluation_and_in_training():
    """Not shortened: what is kept is what a plain count keeps, in both."""
    lm = tiny.lm(max_position_embeddings=2048)
    plain = get_task("mini-qa")
    examples = plain.examples("en", "test", 12)
    sizes = [len(lm.tokenizer(plain.encode(item))["input_ids"]) for item in examples]
    bound = sorted(sizes)[5]
    task = get_task("mini-qa", max_tokens=bound)
    expected = [item.id for item, size in zip(examples, sizes, strict=True) if size <= bound]
    assert [item.id for item in fitting(task, examples, lm.tokenizer)] == expected
    answered = [
        item
        for item in examples
        if len(lm.tokenizer(plain.encode(item) + plain.target(item))["input_ids"]) <= bound
    ]
    items = encode_items(task, examples, lm.tokenizer, max_length=4096, pad=0)
    assert len(items) == len(answered) < len(examples)


def _within(task, lm, bound, *, answered=False):
    """Of all English examples in the order in which a draw takes them, those within a length."""
    sizes = {}
    for item in task.examples("en", "test"):
        text = task.encode(item) + (task.target(item) if answered else "")
        sizes[item.id] = len(lm.tokenizer(text)["input_ids"])
    # Draws of 1, 2, 3, ... give the order without asking how it is made.
    order = []
    for count in range(1, len(sizes) + 1):
        order += {item.id for item in task.examples("en", "test", count)} - {*order}
    return [name for name in order if sizes[name] <= bound], order


def test_as_many_examples_as_wanted_are_found_within_the_limit_of_length():
    """A long one gives its place to the next of the draw; scores, probes and training alike."""
    lm = tiny.lm(max_position_embeddings=2048)
    plain = get_task("mini-qa", sizes={"test": 40})
    lengths = [
        len(lm.tokenizer(plain.encode(item))["input_ids"]) for item in plain.examples("en", "test")
    ]
    bound = sorted(lengths)[20]
    task = get_task("mini-qa", max_tokens=bound, sizes={"test": 40})
    fit, order = _within(plain, lm, bound)
    scores = evaluate(lm, task, "en", limit=8, max_new_tokens=2)
    assert set(scores.rows["id"]) == set(fit[:8])
    assert len(scores.rows) == 8
    assert scores.details["left_out"] == order.index(fit[7]) + 1 - 8 > 0
    assert scores.details["cut"] == 0
    data = [item.id for item in plain.examples("en", "test")]
    assert list(scores.rows["id"]) == sorted(fit[:8], key=data.index)  # in the order of the data
    answered, _ = _within(plain, lm, bound, answered=True)
    trained = draw_within(task, "en", "test", lm.tokenizer, limit=8, answered=True).examples
    assert {item.id for item in trained} == set(answered[:8])
    recipe = Recipe(split="test", limit=8)
    assert [item.id for item in _examples(task, "en", recipe, lm.tokenizer)] == [
        item.id for item in trained
    ]
    everything = draw_within(task, "en", "test", lm.tokenizer, limit=10_000)
    assert len(everything.examples) == len(fit)
    assert everything.left_out == len(order) - len(fit)
    with pytest.raises(InputError, match="limit must be at least 1"):
        draw_within(task, "en", "test", lm.tokenizer, limit=0)
    with pytest.raises(InputError, match="is within max_tokens=1:"):
        draw_within(get_task("mini-qa", max_tokens=1), "en", "test", lm.tokenizer, limit=4)


def test_the_papers_bounds_are_those_of_its_code():
    """Fewer than 256 tokens of a pair, fewer than 511 of a question."""
    assert get_task("xnli", template="paper").max_tokens == 255
    assert get_task("xquad", template="paper").max_tokens == 510
    assert get_task("xquad", template="paper", max_tokens=64).max_tokens == 64
    assert get_task("xquad").max_tokens is None


def test_a_model_that_ends_its_answer_as_trained_is_right_by_token_ids():
    """The gold answer's ids are cut at the end token as a model's are."""
    lm = tiny.lm()
    task = get_task("mini-qa", template="paper")
    example = task.examples("en", "test", 1)[0]
    prompt = encode_example(task, example, lm.tokenizer)
    gold = encode_answer(task, example, lm.tokenizer, prompt)
    eos = lm.tokenizer.eos_token_id
    answer = cut_answer(lm.tokenizer, [*gold, 5, 5], lm.tokenizer.eos_token, frozenset({eos}))
    row = qa_row(lm.tokenizer, task, example, prompt, answer, "en")
    assert (row["exact_match"], row["exact_match_ids"], row["f1_ids"]) == (1, 1, 1)
    assert row["stopped"]


@pytest.mark.usefixtures("short_reports")
def test_a_study_reads_its_tasks_by_their_template(tmp_path):
    """Training, scores and their keys."""
    root = build(tmp_path)
    study = yaml.safe_load((root / "tasks.yaml").read_text(encoding="utf-8"))
    study["tasks"]["xnli"] |= {"template": "paper", "max_tokens": 4000}
    study |= {"interventions": None, "adapters": {"none": {}}}
    (root / "paper.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    made = Study.from_yaml(root / "paper.yaml")
    task = made.tasks()["xnli"]
    assert (task.template, task.max_tokens) == ("{premise} {eos} {hypothesis}", 4000)
    made.run(root / "out")
    trained = read_json(root / "out" / "adapters" / "xnli" / "none" / "langneurons.json")
    assert trained["task"]["template"] == task.template
    other = task_identity("xnli:" + str(root / "xnli"), template="{premise} {hypothesis}")
    assert len({other, task_identity("xnli:" + str(root / "xnli"), template="paper"),
                task_identity("xnli:" + str(root / "xnli"))}) == 3  # fmt: skip


def test_the_command_line_takes_a_template(tmp_path):
    words = ["evaluate", "mini-nli", "-l", "en", "--limit", "3", "-o", str(tmp_path / "out")]
    found = CliRunner().invoke(app, [*words, "--template", "{premise}{eos}{hypothesis} ?"])
    assert found.exit_code == 0, found.output
    scores = Scores.load(tmp_path / "out" / "en.parquet")
    assert scores.details["task"]["template"] == "{premise}{eos}{hypothesis} ?"
    refused = CliRunner().invoke(app, ["evaluate", "harness:x", "--template", "paper"])
    assert isinstance(refused.exception, InputError)
    assert "leave out --template" in str(refused.exception)


@pytest.mark.real
@pytest.mark.skipif(not GEMMA.is_file(), reason="run `make real-models` first")
def test_the_papers_texts_on_a_real_tokenizer():
    """Gemma's end token is one token, and the prompt comes back as it was."""
    tokenizer = load_tokenizer(GEMMA)
    ids = encode_example(get_task("xnli", template="paper"), PAIR, tokenizer).ids
    assert ids.count(tokenizer.eos_token_id) == 1
    prompt = encode_example(get_task("xquad", template="paper"), QUESTION, tokenizer)
    assert tokenizer.decode(prompt.ids, skip_special_tokens=True) == PROMPT


def test_tasks_whose_answers_end_otherwise_are_told_apart():
    """The paper's text written out is not the paper's form: no result of one is the other's."""
    named = get_task("mini-qa", template="paper")
    text = get_task("mini-qa", template=named.template, max_tokens=named.max_tokens)
    assert named.target(named.examples("en", "test", 1)[0]) != text.target(
        text.examples("en", "test", 1)[0]
    )
    assert named.describe() != text.describe()
    assert get_task("mini-qa").describe().keys() == {"task", "template", "splits", "sizes", "seed"}


@pytest.mark.usefixtures("short_reports")
def test_every_part_of_a_study_reads_the_examples_within_the_limit(tmp_path, monkeypatch):
    """Not only what is scored: also probes and the cost of erased subspaces."""
    from langneurons.evaluation import polysemanticity as module
    from langneurons.interface.workshop import Workshop
    from langneurons.parts.polysemanticity import run as part

    root = build(tmp_path)
    study = yaml.safe_load((root / "tasks.yaml").read_text(encoding="utf-8"))
    plain = get_task(study["tasks"]["xnli"]["source"])
    tokenizer = tiny.tokenizer()
    lengths = {
        split: {
            item.id: len(tokenizer(plain.encode(item))["input_ids"])
            for item in plain.examples("hi", split)
        }
        for split in ("dev", "test")
    }
    bound = sorted(lengths["dev"].values())[12]
    study["tasks"]["xnli"]["max_tokens"] = bound
    study["polysemanticity"] = {
        **{"neurons": "lape", "languages": ["hi"], "task": "xnli", "split": "dev"},
        **{"test_split": "test", "examples": 24, "tested": 24},
    }
    for other in ("finetune", "adapters", "interventions"):
        del study[other]
    (root / "limit.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    made = Study.from_yaml(root / "limit.yaml", ["tasks.xnli.train_split=dev"])
    made.run(root / "out")
    seen = {}
    real = module.polysemanticity

    def watched(lm, found, language, stats, task, examples, tested, **options):
        seen.update(dev=examples, test=tested)
        return real(lm, found, language, stats, task, examples, tested, **options)

    monkeypatch.setattr(module, "polysemanticity", watched)
    shop = Workshop(made.resolved, root / "out", made.texts())
    part.polysemanticity(shop, root / "again", "hi")
    for split, examples in seen.items():
        expected = {name for name, size in lengths[split].items() if size <= bound}
        assert {item.id for item in examples} == expected < set(lengths[split])
