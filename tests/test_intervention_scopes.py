"""Which tokens are touched: every scope, wherever the call enters and whatever the mask becomes.

The reference is written from the definitions, on lists; what is touched is read off the running
model, where a touched token's unit holds the value that was written.
"""

import contextlib

import pytest
import torch
import transformers

import tiny
from langneurons.errors import InputError, RunError
from langneurons.identification import Units
from langneurons.intervention import Intervention, intervene
from langneurons.intervention.tokens import Tokens, select
from langneurons.models import hook_site, wrap
from langneurons.models.passes import Pass, pass_arguments, positions_of

UNIT, VALUE = 5, 7.25
_TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300, "max_position_embeddings": 128,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_FULL = {**_TEXT, "layer_types": ["full_attention", "full_attention"]}
_VISION = {  # small, as it is never run here
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 16, "patch_size": 8,
}  # fmt: skip


def built(name, config):
    torch.manual_seed(0)
    net = getattr(transformers, name)(config).eval()
    if hasattr(net, "generation_config"):
        net.generation_config.pad_token_id = 0
    return wrap(net, tiny.tokenizer(), name)


def multimodal(kind, suffix="ForConditionalGeneration", text=_TEXT, **more):
    return built(kind + suffix, getattr(transformers, kind + "Config")(text_config=text, **more))


MODELS = {
    "llama": lambda: tiny.lm("llama"),
    "opt": lambda: tiny.lm("opt"),
    "gemma3-text": lambda: tiny.lm("gemma3"),
    "gemma3": lambda: multimodal("Gemma3", vision_config=_VISION),
    "gemma3-labels": lambda: multimodal(
        "Gemma3", "ForSequenceClassification", vision_config=_VISION
    ),
    "llama-labels": lambda: built(
        "LlamaForSequenceClassification", transformers.LlamaConfig(**_TEXT, num_labels=3)
    ),
    "gemma4": lambda: multimodal("Gemma4Unified"),
    "qwen3.5": lambda: multimodal(
        "Qwen3_5", text=_FULL,
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
                       "out_hidden_size": 32, "num_position_embeddings": 16},
    ),
}  # fmt: skip


def expected(scope, real, start=0):
    """Columns touched in each row of a plain pass, from the definition; ``real`` in 0 and 1."""
    rows = []
    for row in real:
        places = [column for column, one in enumerate(row) if one]
        position = {column: number for number, column in enumerate(places)}
        chosen = {
            "all": range(len(row)),
            "prompt": range(len(row)),
            "generated": (),
            "last": places[-1:],
            "rest": [c for c in range(len(row)) if c != places[-1]],
            "text": places,
            "padding": [c for c in range(len(row)) if c not in position],
        }[scope]
        rows.append([c for c in chosen if start == 0 or position.get(c, -1) >= start])
    return rows


@contextlib.contextmanager
def touched(lm, layer=1, **options):
    """Collects, pass by pass, the columns of each row that hold the written value."""
    found = []

    def look(_layer, value):
        found.append([row.nonzero().flatten().tolist() for row in value[..., UNIT] == VALUE])

    with (
        torch.no_grad(),
        intervene(lm, Units([layer], [UNIT]), VALUE, **options),
        hook_site(lm, "mlp.act", look, [layer]),
    ):
        yield found


def padded(side):
    real = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
    real = real if side == "right" else real.flip(1)
    ids = torch.arange(5, 23).reshape(3, 6) * real
    return ids, real


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", MODELS)
def test_every_scope_wherever_the_call_enters(kind, side):
    lm = MODELS[kind]()
    ids, real = padded(side)
    for options in (
        *({"scope": s} for s in ("prompt", "generated", "last", "rest", "text", "padding")),
        {"start": 2},
        {"scope": "text", "start": 1},
    ):
        want = expected(options.get("scope", "all"), real.tolist(), options.get("start", 0))
        for module in (lm.model, lm.backbone):
            with touched(lm, **options) as found:
                module(input_ids=ids, attention_mask=real)
            assert found == [want], (options, type(module).__name__)


def test_arguments_by_place_are_read_too():
    lm = MODELS["llama-labels"]()
    ids, real = padded("right")
    with touched(lm, scope="last") as found:
        lm.model(ids, real)
    assert found == [expected("last", real.tolist())]


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gemma4", "qwen3.5", "llama-labels"])
def test_a_draw_of_tokens_is_the_same_in_a_padded_batch_and_alone(kind):
    lm = MODELS[kind]()
    options = {"probability": 0.5, "seed": 3}
    alone = []
    for row in (range(5, 12), range(30, 34)):
        with touched(lm, **options) as found:
            lm.model(input_ids=torch.tensor([list(row)]))
        alone.append(found[0][0])
    ids = torch.tensor([list(range(5, 12)), [0, 0, 0, *range(30, 34)]])
    with touched(lm, **options) as found:
        lm.model(input_ids=ids, attention_mask=(ids != 0).long())
    assert found == [[alone[0], [c for c in found[0][1] if c < 3] + [c + 3 for c in alone[1]]]]
    assert 0 < sum(map(len, alone)) < 11


def drawn(seed, token, position):
    """The number from 0 to 1 of a token: SplitMix64's finaliser in Python's own integers."""
    bits = (1 << 64) - 1
    mixed = (token * 0x632BE59BD9B4E019 + position + (seed + 1) * 0x9E3779B97F4A7C15) & bits
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & bits
    return ((mixed ^ (mixed >> 31)) & ((1 << 53) - 1)) / (1 << 53)


@pytest.mark.parametrize("seed", [0, 3, 2**40])
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.97])
def test_drawn_tokens_by_definition(seed, probability):
    lm = MODELS["llama"]()
    rows = torch.randint(3, 200, (4, 24), generator=torch.Generator().manual_seed(seed % 7))
    with touched(lm, probability=probability, seed=seed) as found:
        lm.model(input_ids=rows)
    assert found == [
        [
            [c for c, token in enumerate(row) if drawn(seed, token, c) < probability]
            for row in rows.tolist()
        ]
    ]


def generated(scope, real, length):
    """Columns of the finished sequence that are touched, from the definition."""
    prompt = len(real[0])
    rows = []
    for row in real:
        places = [c for c, one in enumerate(row) if one]
        new = list(range(prompt, length))
        rows.append(
            {
                "all": [*range(length)],
                "prompt": [*range(prompt)],
                "generated": new,
                "last": [places[-1], *new],
                "rest": [c for c in range(prompt) if c != places[-1]],
                "text": [*places, *new],
                "padding": [c for c in range(prompt) if c not in places],
            }[scope]
        )
    return rows


CACHES = {"dynamic": {}, "none": {"use_cache": False}, "static": {"cache_implementation": "static"}}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("kind", ["llama", "gemma3-text", "gemma3", "qwen3.5", "cohere2", "qwen3"])
def test_generation_touches_the_same_tokens_with_any_cache(kind, cache):
    lm = MODELS[kind]() if kind in MODELS else tiny.lm(kind)
    ids, real = padded("left")
    for scope in ("all", "prompt", "generated", "last", "rest", "text", "padding"):
        with touched(lm, scope=scope) as found:
            made = lm.model.generate(
                input_ids=ids, attention_mask=real, max_new_tokens=3, min_new_tokens=3,
                do_sample=False, **CACHES[cache],
            )  # fmt: skip
        want = generated(scope, real.tolist(), made.shape[1])
        stop = 0
        for number, columns in enumerate(found[:3]):
            start, stop = (0 if cache == "none" else stop), ids.shape[1] + number
            here = [[c - start for c in row if start <= c < stop] for row in want]
            assert columns == here, (scope, number)


def test_a_beam_search_and_a_prompt_of_one_token():
    lm = tiny.lm("llama")
    options = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False}
    ids = torch.tensor([[5]])
    for scope, first, then in (("prompt", [0], []), ("generated", [], [0]), ("last", [0], [0])):
        with touched(lm, scope=scope) as found:
            lm.model.generate(input_ids=ids, num_beams=2, **options)
        assert found[:2] == [[first], [then, then]] or found[:2] == [[first] * 2, [then] * 2]


def test_a_cache_continued_by_a_single_token_of_the_prompt():
    lm = tiny.lm("llama")
    ids = torch.arange(5, 12).unsqueeze(0)
    with torch.no_grad():
        cache = lm.model(input_ids=ids[:, :6], use_cache=True).past_key_values
    with touched(lm, scope="generated") as found:
        lm.model.generate(
            input_ids=ids, past_key_values=cache, max_new_tokens=2, min_new_tokens=2,
            do_sample=False, attention_mask=torch.ones_like(ids),
        )  # fmt: skip
    assert found[:2] == [[[]], [[0]]]


def test_steps_by_hand_against_a_cache_keep_mask_and_positions_aligned():
    lm = tiny.lm("llama")
    ids, real = padded("left")
    with torch.no_grad():
        cache = lm.model(input_ids=ids[:, :3], attention_mask=real[:, :3], use_cache=True)
    with touched(lm, scope="text", start=2) as found:
        lm.model(
            input_ids=ids[:, 3:], attention_mask=real, past_key_values=cache.past_key_values,
            position_ids=positions_of(real)[:, 3:],
        )  # fmt: skip
    # Rows of 3, 6 and 4 real tokens at the right end: positions 0.., of which 2 and on.
    assert found == [[[2], [0, 1, 2], [1, 2]]]


@pytest.mark.parametrize("masked", [False, True])
def test_packed_sequences_each_have_their_own_positions_and_end(masked):
    lm = tiny.lm("llama")
    ids = torch.arange(5, 15).unsqueeze(0)
    position_ids = torch.tensor([[0, 1, 2, 0, 1, 0, 1, 2, 3, 0]])
    more = {"position_ids": position_ids}
    if masked:
        more["attention_mask"] = torch.tensor([[1] * 9 + [0]])
    for options, want in (
        ({"scope": "last"}, [2, 4, 8] if masked else [2, 4, 8, 9]),
        ({"scope": "rest"}, [0, 1, 3, 5, 6, 7] + ([9] if masked else [])),
        ({"start": 2}, [2, 7, 8]),
    ):
        with touched(lm, **options) as found:
            lm.model(input_ids=ids, use_cache=False, **more)
        assert found == [[want]], options


@pytest.mark.parametrize(
    "options",
    [{"scope": "text"}, {"scope": "last"}, {"scope": "rest"}, {"scope": "padding"}, {"start": 1},
     {"probability": 0.5}],
)  # fmt: skip
def test_a_mask_that_says_nothing_about_tokens_is_refused(options):
    lm = tiny.lm("llama")
    ids = torch.arange(5, 11).unsqueeze(0)
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    with (
        pytest.raises(InputError, match=r"given an attention mask of shape \(1, 1, 6, 6\): pass"),
        touched(lm, **options),
    ):
        lm.model(input_ids=ids, attention_mask=mask)
    with touched(lm, scope="prompt") as found:
        lm.model(input_ids=ids, attention_mask=mask)
    assert found == [[[0, 1, 2, 3, 4, 5]]]
    if options.get("scope") is None:  # positions are told, padding is not
        with touched(lm, **options) as found:
            lm.model(input_ids=ids, attention_mask=mask, position_ids=torch.arange(6).unsqueeze(0))
        assert len(found) == 1


def test_a_mask_that_is_too_short_is_refused():
    given = Pass((1, 2), torch.device("cpu"), None, 4, mask_unknown="with 3 columns for 6 tokens")
    with pytest.raises(InputError, match="attention mask with 3 columns for 6 tokens"):
        select(Tokens(given), Intervention(Units([0], [1]), scope="text"))


def test_a_prompt_run_in_pieces_has_no_known_end():
    lm = tiny.lm("llama")
    options = {"input_ids": torch.arange(5, 13).unsqueeze(0), "max_new_tokens": 2,
               "do_sample": False, "prefill_chunk_size": 3}  # fmt: skip
    with (
        pytest.raises(InputError, match="leave out prefill_chunk_size"),
        touched(lm, scope="last"),
    ):
        lm.model.generate(**options)
    with touched(lm, scope="text") as found:
        lm.model.generate(**options)
    assert found[:3] == [[[0, 1, 2]], [[0, 1, 2]], [[0, 1]]]


def test_a_layer_run_by_itself_is_refused_where_tokens_matter():
    lm = tiny.lm("llama")
    with (
        pytest.raises(InputError, match="a layer runs outside the model"),
        touched(lm, scope="text"),
    ):
        lm.layer_modules[1].mlp(torch.zeros(1, 3, tiny.HIDDEN))


def test_tokens_put_before_the_prompt_by_an_adapter_are_counted():
    from peft import PromptTuningConfig, get_peft_model

    lm = tiny.lm("llama")
    tuned = get_peft_model(
        lm.model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    ).eval()
    wrapped = lm.with_model(tuned)
    ids, real = padded("right")
    with touched(wrapped, scope="last") as found:
        tuned(input_ids=ids, attention_mask=real)
    assert found == [[[4], [7], [5]]]


@pytest.mark.parametrize("family", ["llama", "gpt2", "xglm", "opt", "gemma3"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_arguments_under_which_padding_changes_nothing(family, side):
    lm = tiny.lm(family)
    ids, real = padded(side)
    with torch.no_grad():
        together = lm.model(**pass_arguments(lm, ids, real), use_cache=False).logits
        for row, mask, found in zip(ids, real.bool(), together, strict=True):
            alone = lm.model(input_ids=row[mask].unsqueeze(0), use_cache=False).logits[0]
            torch.testing.assert_close(found[mask], alone, rtol=1e-4, atol=1e-4)
    assert "attention_mask" not in pass_arguments(lm, ids, torch.ones_like(ids))


def _in_place(net):
    net.compile(backend="eager")


def _forward(net):
    net.forward = torch.compile(net.forward, backend="eager")


def _layer_forward(net):
    layer = net.model.layers[1].mlp
    layer.forward = torch.compile(layer.forward, backend="eager")


def _layer(net):
    net.model.layers[1] = torch.compile(net.model.layers[1], backend="eager")


def _wrapped_forward(net):
    from functools import partial, wraps

    compiled = torch.compile(net.forward, backend="eager")
    net.forward = wraps(net.forward)(partial(compiled))


def _traced(net):
    net.model.layers[1].mlp.act_fn = torch.jit.script(torch.nn.SiLU())


@pytest.mark.parametrize(
    "compile_it", [_in_place, _forward, _layer_forward, _layer, _wrapped_forward, _traced]
)
def test_a_model_compiled_in_any_way_is_refused(compile_it):
    lm = tiny.lm("llama")
    _ = lm.sites.plans
    compile_it(lm.model)
    with (
        pytest.raises(InputError, match=r"compiled by torch\.compile"),
        intervene(lm, Units([1], [5])),
    ):
        pass


def test_a_forward_kept_from_compiling_is_no_compiled_one():
    lm = tiny.lm("llama")
    lm.model.forward = torch.compiler.disable(lm.model.forward)
    with touched(lm, scope="all") as found:
        lm.model(input_ids=torch.tensor([[5, 6]]))
    assert found == [[[0, 1]]]


@pytest.mark.slow
def test_a_compiled_function_around_the_model_is_refused():
    lm = tiny.lm("llama")

    def step(ids):
        return lm.model(input_ids=ids, use_cache=False).logits

    compiled = torch.compile(step, backend="eager")
    with (
        pytest.raises(RunError, match="a function around the model is compiled"),
        touched(lm),
    ):
        compiled(torch.tensor([[5, 6]]))


def test_generate_does_not_compile_by_itself():
    lm = tiny.lm("llama")
    with (
        pytest.raises(InputError, match="pass disable_compile=True"),
        intervene(lm, Units([1], [5])),
    ):
        lm.model.get_compiled_call(None)
    assert "get_compiled_call" not in lm.model.__dict__


def test_a_layer_that_the_model_leaves_out_is_named():
    """As Mllama's cross-attention layers without an image: nothing was seen, which is not 0."""
    lm = tiny.lm("llama")
    seen = []
    with hook_site(lm, "mlp.act", lambda layer, value: seen.append(layer)):
        lm.model.model.layers = torch.nn.ModuleList([lm.model.model.layers[0]])
        lm.model.config.num_hidden_layers = 1
        with pytest.raises(RunError, match=r"'mlp.act' in layer 1 was not called .* leaves that"):
            lm.model(input_ids=torch.tensor([[5, 6]]), use_cache=False)
    assert seen == [0]
