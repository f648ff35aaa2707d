"""What fine-tuning and evaluation refuse, each by one line that names the user's value."""

import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from finetuning_world import Answers, Classes
from langneurons.errors import ArtifactError, InputError, RunError
from langneurons.evaluation import perplexity, squad_scores
from langneurons.evaluation.forcing import detect
from langneurons.evaluation.harness import _scores
from langneurons.evaluation.likelihood import Continuation, continuation_scores
from langneurons.evaluation.qa import generate
from langneurons.evaluation.translation import chrf
from langneurons.finetuning import finetune, get_recipe, load_adapter
from langneurons.finetuning.adapter import save_adapter
from langneurons.finetuning.targets import _head_size
from langneurons.identification import Units

FAST = {"steps": 1, "batch_size": 4, "rank": 2, "dtype": "fp32"}
UNITS = Units([0, 1], [1, 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projections": ("side",)}, "unknown projection 'side'"),
        ({"projections": ()}, "projections is empty"),
        ({"clip": 0.0}, "clip must be above 0, got 0.0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"shots": {"hi": -1}}, "shots of 'hi' must be at least 0, got -1"),
        ({"patience": 2}, "patience needs evaluate_every"),
        ({"recipe": "strikt"}, "unknown recipe 'strikt'. Did you mean 'strict'"),
    ],
)
def test_a_recipe_refuses(options, message):
    with pytest.raises(InputError, match=message):
        get_recipe(options.pop("recipe", None), **options)


@pytest.mark.parametrize(
    ("family", "task", "options", "message"),
    [
        ("llama", Answers, {"max_length": 1}, r"the answer of example '\d+' alone fills 1 tokens"),
        ("llama", Classes, {"site": "mlp.side"}, "unknown site to train 'mlp.side'"),
        ("gpt2", Classes, {"projections": ("up",)}, "is not gated, so there is no up projection"),
        ("llama", Classes, {"report_to": "swanlab"}, "report_to='swanlab' needs the package"),
    ],
)
def test_a_training_refuses(family, task, options, message, tmp_path):
    if "report_to" in options and __import__("importlib.util").util.find_spec("swanlab"):
        pytest.skip("the tracker is installed")
    with pytest.raises(InputError, match=message):
        finetune(tiny.lm(family), task(), "en", UNITS, output=tmp_path / "a", **FAST, **options)


def test_a_model_whose_weights_learn_is_refused(tmp_path):
    lm = tiny.lm()
    lm.model.requires_grad_(True)
    with pytest.raises(InputError, match="weights that are not frozen"):
        finetune(lm, Classes(), "en", UNITS, output=tmp_path / "a", **FAST)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    return finetune(tiny.lm(), Classes(), "en", UNITS, output=folder / "a", **FAST).path


def foreign(adapter, folder):
    """The adapter as PEFT alone would have written it."""
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_bytes((adapter / name).read_bytes())
    return folder


def test_a_foreign_adapter_that_is_damaged_or_of_another_model(adapter, tmp_path):
    place = foreign(adapter, tmp_path / "json")
    (place / "adapter_config.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"damaged \(not valid JSON\): train again"):
        load_adapter(tiny.lm(), place)
    place = foreign(adapter, tmp_path / "weights")
    (place / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ArtifactError, match="is missing or damaged: train again"):
        load_adapter(tiny.lm(), place)
    place = foreign(adapter, tmp_path / "headless")
    file = place / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "score" not in k}, file)
    with pytest.raises(InputError, match="holds no classification head 'score'"):
        load_adapter(tiny.lm(), place)
    place = foreign(adapter, tmp_path / "other")
    file = place / "adapter_model.safetensors"
    save_file({k: torch.zeros(*v.shape[:-1], v.shape[-1] + 1) for k, v in load_file(file).items()},
              file)  # fmt: skip
    with pytest.raises(InputError, match=r"does not fit .*: load the model it was trained on"):
        load_adapter(tiny.lm(), place)


def test_peft_that_writes_nothing_is_seen(adapter, tmp_path, monkeypatch):
    from peft import PeftModel

    model = load_adapter(tiny.lm(), adapter).model
    assert isinstance(model, PeftModel)
    monkeypatch.setattr(PeftModel, "save_pretrained", lambda *words, **options: None)
    with pytest.raises(ArtifactError, match=r"wrote no adapter_model\.safetensors"):
        save_adapter(model, tmp_path / "a", {"trainable": 0, "losses": []})


def backbone():
    """A model without a head, as `AutoModel` gives it."""
    lm = tiny.lm()
    return lm.with_model(lm.model.model)


def test_a_model_without_a_head_has_no_perplexity_and_no_answers():
    with pytest.raises(InputError, match="LlamaModel has no language-model head"):
        perplexity(backbone(), ["one two three four"])


def test_a_model_that_cannot_generate_is_named():
    from transformers import LlamaForSequenceClassification

    lm = tiny.lm()
    headed = LlamaForSequenceClassification(lm.model.config)
    with pytest.raises(InputError, match="cannot generate: answers need a causal model"):
        generate(lm.with_model(Bare(headed)), [[1, 2]], stop="\n", max_new_tokens=1)


class Bare(torch.nn.Module):
    """The model's modules without `generate`."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model.model, model.config

    @property
    def device(self):
        return torch.device("cpu")


def test_likelihoods_that_are_no_numbers_stop_the_run():
    lm = tiny.lm()
    with torch.no_grad():
        lm.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(RunError, match="log-likelihoods are not numbers"):
        continuation_scores(lm, [Continuation([1, 2, 3], 1, False)])


def test_what_needs_an_extra_says_which(monkeypatch):
    for name, call, extra in (
        ("sacrebleu.metrics.chrf", lambda: chrf("a", "b"), "translation"),
        ("lingua", lambda: detect(["a"], ["en", "hi"]), "language-id"),
        ("lm_eval", lambda: __import__("langneurons").evaluate(tiny.lm(), "harness:x", "en"),
         "harness"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            for module in [m for m in sys.modules if m.split(".")[0] == name.split(".")[0]]:
                patch.delitem(sys.modules, module)
            patch.setitem(sys.modules, name, None)
            with pytest.raises(InputError, match=rf"langneurons\[{extra}\]"):
                call()


def test_a_language_lingua_does_not_know():
    pytest.importorskip("lingua")
    with pytest.raises(InputError, match="lingua does not know the language 'xx'"):
        detect(["a"], ["en", "xx"])


def test_a_data_set_without_questions():
    with pytest.raises(InputError, match="the data set holds no questions"):
        squad_scores([], {}, "en")


def test_a_harness_task_without_a_metric_over_documents():
    pytest.importorskip("lm_eval")
    results = {
        "samples": {"x": [{"doc_id": 0, "filtered_resps": ["a"], "target": "b"}]},
        "results": {"x": {"alias": "x"}},
    }
    with pytest.raises(InputError, match="harness task 'x' has no metric that is a mean"):
        _scores(tiny.lm(), "x", "en", results, None)


def test_units_that_are_not_whole_heads():
    lm = tiny.lm(intermediate_size=50)
    with pytest.raises(InputError, match=r"has 50 units, no multiple of the head size 8"):
        _head_size(lm, "mlp.act")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -1}, "weight_decay must be 0 or above, got -1"),
        ({"weight_decay": float("nan")}, "weight_decay must be a finite number, got nan"),
        ({"betas": (1.0, 0.999)}, r"betas must be two numbers in \[0, 1\), .*; got 1.0, 0.999"),
        ({"betas": (0.9, -0.1)}, r"betas must be two numbers in \[0, 1\), .*; got 0.9, -0.1"),
        ({"betas": (0.9,)}, r"betas must be two numbers in \[0, 1\), .*; got 0.9"),
        ({"betas": 0.9}, r"betas must be two numbers in \[0, 1\), .*; got 0.9"),
        ({"betas": ("a", "b")}, "betas must be a number, got 'a'"),
        ({"learning_rate": float("inf")}, "learning_rate must be a finite number, got inf"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"dropout": None}, "dropout must be a number, got None"),
        ({"rank": 1.5}, "rank must be a whole number, got 1.5"),
        ({"steps": True}, "steps must be a whole number, got True"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"epochs": 0}, "epochs must be above 0, got 0"),
    ],
)
def test_an_impossible_setting_is_one_clear_line(options, message):
    with pytest.raises(InputError, match=message):
        get_recipe(None, **options)


def test_possible_settings_are_taken():
    recipe = get_recipe(None, clip=float("inf"), weight_decay=0, betas=[0.0, 0.5])
    assert recipe.betas == (0.0, 0.5)
    assert get_recipe(None, projections="up").projections == ("up",)
