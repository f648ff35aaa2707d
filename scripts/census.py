"""Every decoder that Transformers registers, tried: ``python -m scripts.census`` remakes the page.

Each class of ``MODEL_FOR_CAUSAL_LM_MAPPING`` is built tiny from its own configuration class, with
random weights and random biases, and goes through statistics, identification, interventions at
every site and scope, baking and a training step, each held against plain hooks, weights edited by
hand or a computation written out. A class is exact, refused (with the line) or not built (with the
reason).

Results are kept in ``runs/census.json`` class by class, so that a stopped run goes on; ``--again``
starts anew, ``--only NAME`` tries one class.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import torch
import transformers
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from langneurons.artifacts import write_text
from langneurons.errors import InputError, RunError
from langneurons.identification import Units, identify
from langneurons.intervention import Intervention, Value, bake, intervene
from langneurons.intervention.interventions import Scope
from langneurons.models import SITES, LanguageModel, hook_site, wrap
from langneurons.models.projection import is_transposed, unwrapped
from langneurons.statistics import collect

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "runs" / "census.json"
PAGE = ROOT / "docs" / "census.md"
HIDDEN, UNITS, HEADS, KEYS, SIZE, LAYERS, VOCABULARY = 32, 48, 4, 2, 8, 2, 300
MOST = 8_000_000
"""Parameters above which a class is not built: its configuration could not be made small."""

_SMALL: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim",
                     "emb_dim", "input_embedding_size", "output_embedding_size", "lru_width",
                     "embedding_dim"), HIDDEN),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "dff",
                     "ffn_hidden_size", "n_inner", "dim_ff", "d_inner", "feed_forward_size",
                     "intermediate_size_mlp", "dense_intermediate_size"), UNITS),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size",
                     "shared_intermediate_size", "shared_experts_intermediate_size",
                     "expert_ffn_hidden_size", "moe_shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
                     "decoder_layers", "num_decoder_layers", "num_encoder_layers", "num_blocks",
                     "depth"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads",
                     "encoder_attention_heads", "decoder_attention_heads",
                     "num_encoder_attention_heads", "num_decoder_attention_heads",
                     "swa_num_attention_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"), KEYS),
    **dict.fromkeys(("head_dim", "d_head", "attention_head_size", "kv_channels", "swa_head_dim",
                     "dim_head", "global_head_dim"), SIZE),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len",
                     "context_length", "model_max_length"), 64),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank", "dim_model_base"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "v_head_dim", "index_head_dim", "linear_head_dim",
                     "linear_key_head_dim", "linear_value_head_dim", "mamba_d_state", "state_size",
                     "mamba_d_head", "ssm_state_size", "mamba_head_dim", "mamba_headdim",
                     "mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "mamba_chunk_size",
                     "chunk_size",
                     "hidden_size_per_layer_input", "laurel_rank", "query_pre_attn_scalar",
                     "ple_embed_dim"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "rotary_dim", "index_topk", "adapter_rank",
                     "num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts",
                     "linear_num_value_heads", "time_step_rank", "mamba_dt_rank"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k",
                     "linear_num_key_heads", "linear_num_heads", "index_n_heads",
                     "attn_layer_period", "type_vocab_size"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group", "n_groups", "mamba_n_groups",
                     "mamba_ngroups",
                     "n_shared_experts", "num_shared_experts", "first_k_dense_replace",
                     "attn_layer_offset", "num_mem_blocks"), 1),
    "qk_head_dim": 12, "mamba_d_ssm": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "sliding_window": 16, "attention_window_size": 16,
}  # fmt: skip

_OWN: dict[str, dict[str, Any]] = {
    # Where a class needs more than small numbers: layers of every kind, or a dense variant.
    "jamba": {"num_experts": 1, "num_hidden_layers": 4, "use_mamba_kernels": False},
    "nemotron_h": {"layers_block_type": ["linear_attention", "full_attention", "mlp", "mlp"]},
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
    "gemma3n_text": {"num_hidden_layers": 4, "intermediate_size": [UNITS] * 4,
                     "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0],
                     "num_kv_shared_layers": 0,
                     "layer_types": ["sliding_attention", "full_attention"] * 2},
    **{key: {"head_dim": SIZE} for key in ("ministral", "hunyuan_v1_dense", "hunyuan_v1_moe")},
    "mamba2": {"num_heads": 8},
    "roc_bert": {"pronunciation_vocab_size": 20, "shape_vocab_size": 20},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 3},
    "bamba": {"attn_layer_indices": [1]},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "zaya": {"num_experts_per_tok": 1},
    "qwen3_next": {"num_experts": 0, "layer_types": ["linear_attention", "full_attention"]},
    "granitemoehybrid": {"num_local_experts": 0, "layer_types": ["mamba", "attention"],
                         "shared_intermediate_size": UNITS},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2": {"block_auto_adjust_ff_dim": False,
             "layer_types": ["conv", "full_attention"]},
    "gemma4_text": {"num_kv_shared_layers": 0},
    "recurrent_gemma": {"intermediate_size": 2 * UNITS, "num_hidden_layers": 3},
}  # fmt: skip


class _NotBuiltError(Exception):
    """The class cannot be built small; the message says why."""


def small(kind: type[Any], model_type: str) -> Any:
    """A small configuration of class ``kind``, its parts (text, vision) small too."""
    known = kind().to_dict()
    values: dict[str, Any] = {
        name: _SMALL[name]
        for name, usual in known.items()
        if name in _SMALL and (usual is None or isinstance(usual, int))
        and not isinstance(usual, bool) and not (usual is None and name not in _DESPITE_NONE)
    }  # fmt: skip
    for name, part in getattr(kind, "sub_configs", {}).items():
        usual = known.get(name)
        own = usual.get("model_type") if isinstance(usual, Mapping) else None
        inner = CONFIG_MAPPING[own] if own in list(CONFIG_MAPPING) else part
        if getattr(inner, "model_type", ""):
            values[name] = small(inner, inner.model_type).to_dict()
    if "kv_lora_rank" in known and "num_key_value_heads" in values:
        values["num_key_value_heads"] = HEADS  # the latent is spread over all heads
    if "qk_rope_head_dim" in known and "head_dim" in values:
        values["head_dim"] = values["qk_rope_head_dim"]
    if "is_decoder" in known:
        values["is_decoder"] = True
    values |= _OWN.get(model_type, {})
    return kind(**values)


_DESPITE_NONE = frozenset({"n_inner", "num_key_value_heads", "ffn_hidden_size", "pad_token_id",
                           "bos_token_id", "eos_token_id", "num_kv_heads",
                           "num_experts_per_tok"})  # fmt: skip


def built(model_type: str, name: str) -> nn.Module:
    """The class with random weights, biases among them, in float32 and evaluation mode."""
    try:
        kind = getattr(transformers, name)
        config = small(kind.config_class, kind.config_class.model_type)
        torch.manual_seed(0)
        size = parameters(kind, config)
        if size > MOST:
            raise _NotBuiltError(f"its configuration stays large ({size:,} parameters)")
        net: nn.Module = kind(config).float().eval()
    except _NotBuiltError:
        raise
    except Exception as error:
        raise _NotBuiltError(f"{type(error).__name__}: {_line(error)}") from error
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for place, parameter in net.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, 0.2, generator=generator)
            elif place.endswith("bias"):
                parameter.normal_(0.0, 0.3, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    try:
        with torch.no_grad():
            logits = net(input_ids=IDS[:1], use_cache=False).logits
    except Exception as error:
        raise _NotBuiltError(f"does not run on ids alone: {_line(error)}") from error
    if not bool(logits.isfinite().all()):
        raise _NotBuiltError("gives infinite logits with random weights")
    return net


def parameters(kind: type[Any], config: Any) -> int:
    """Parameters the class would have; 0 where it can only be built for good."""
    try:
        with init_empty_weights():
            return sum(p.numel() for p in kind(copy.deepcopy(config)).parameters())
    except Exception:
        return 0


def _line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error))[:160].strip()


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Words w3, w4, ... as ids 3, 4, ..., with padding, begin and end."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["<pad>", "<s>", "</s>", *(f"w{number}" for number in range(3, VOCABULARY))]
    core = Tokenizer(models.WordLevel({w: n for n, w in enumerate(names)}, unk_token="w3"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


_UNITS = tuple(site for site in SITES if not site.startswith("moe."))
"""Sites whose units are numbers that the model computes; those of a router are its choices."""

IDS = torch.tensor([[0, 0, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])
MASK = (IDS != 0).long()
TEXTS = {
    "a": [" ".join(f"w{number}" for number in range(20, 44))],
    "b": [" ".join(f"w{number}" for number in range(90, 114))],
}


class WrongError(Exception):
    """A number is not what it should be."""


def same(what: str, found: Tensor, expected: Tensor, share: float = 2e-4) -> None:
    """Raise :class:`WrongError` unless two tensors agree up to rounding in float32."""
    scale = float(expected.abs().max().clamp_min(1e-3))
    apart = float((found - expected).abs().max()) if found.numel() else 0.0
    if found.shape != expected.shape or not apart <= share * scale:
        raise WrongError(f"{what}: off by {apart:.3g} on a scale of {scale:.3g}")


def logits(lm: LanguageModel) -> Tensor:
    """Logits of the padded batch at its real tokens."""
    found: Tensor = lm.model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits
    return found[MASK.bool()]


def values(lm: LanguageModel, site: str, layer: int, ids: Tensor, **more: Tensor) -> Tensor:
    """What a layer's units hold, read by a plain hook of PyTorch: (batch, sequence, units)."""
    place = lm.sites[site]
    module, inside, found = place.modules[layer], [False], []

    def look(tensor: Tensor) -> None:
        if not inside[0]:
            return
        tensor = tensor.detach().clone().reshape(*ids.shape, -1)
        columns = place.layer_columns[layer]
        tensor = tensor if columns is None else tensor[..., columns]
        if place.heads is not None:
            tensor = tensor.reshape(*ids.shape, place.heads, -1).square().sum(-1).sqrt()
        found.append(tensor)

    def first(value: Any) -> Tensor:
        return value[0] if isinstance(value, tuple | list) else value

    owner = lm.layer_modules[layer]
    handles = [owner.register_forward_pre_hook(lambda *_: inside.__setitem__(0, True))]
    if place.side == "output":
        handles.append(module.register_forward_hook(lambda _m, _a, out: look(first(out))))
    else:
        handles.append(
            module.register_forward_pre_hook(
                lambda _m, args, kwargs: look(args[0] if args else next(iter(kwargs.values()))),
                with_kwargs=True,
            )
        )
    handles.append(owner.register_forward_hook(lambda *_: inside.__setitem__(0, False)))
    lm.model(input_ids=ids, use_cache=False, **more)
    for handle in handles:
        handle.remove()
    if len(found) != 1:
        raise WrongError(f"{site}: the module of layer {layer} ran {len(found)} times")
    return found[0]


def check_statistics(lm: LanguageModel, site: str) -> None:
    """Counts and means of ``collect`` against plain hooks; a method reads them."""
    stats = collect(lm, TEXTS, site=site, block=8, rows=0, bos=False)
    for language, (text,) in TEXTS.items():
        ids = torch.tensor(lm.tokenizer(text, add_special_tokens=False)["input_ids"]).reshape(-1, 8)
        for layer in lm.sites[site].layers:
            held = values(lm, site, layer, ids).flatten(0, 1).double()
            same(f"{site} mean", stats.mean(language)[layer].double(), held.mean(0))
            if not torch.equal(stats.count_positive[language][layer], (held > 0).sum(0)):
                raise WrongError(f"{site}: counts of layer {layer} are not those of a plain hook")
    neurons = identify(stats, "difference", top=4)
    if neurons.shape != (lm.layers, lm.sites[site].width):
        raise WrongError(f"{site}: the neurons' shape is {neurons.shape}")


def touched(scope: str) -> Tensor:
    """Tokens of the padded batch that a scope touches, from its definition."""
    real = MASK.bool()
    last = torch.zeros_like(real)
    last[:, -1] = True
    return {
        "all": real | ~real, "prompt": real | ~real, "generated": real & ~real, "last": last,
        "rest": ~last, "text": real, "padding": ~real,
    }[scope]  # fmt: skip


def check_interventions(lm: LanguageModel, site: str) -> None:
    """Every scope writes its tokens and no other, at the last layer that has the site."""
    place = lm.sites[site]
    layer = place.layers[-1]
    width = place.widths[layer]
    units, number = Units([layer, layer], [0, width - 1]), 0.625
    before = values(lm, site, layer, IDS, attention_mask=MASK)
    plain = logits(lm)
    for scope in get_args(Scope):
        seen: list[Tensor] = []
        with (
            intervene(lm, units, number, site=site, scope=scope),
            hook_site(lm, site, lambda _, x, seen=seen: seen.append(x.clone()), [layer]),
        ):
            lm.model(input_ids=IDS, attention_mask=MASK, use_cache=False)
        expected = before.clone()
        where = touched(scope)
        for unit in (0, width - 1):
            expected[..., unit] = torch.where(where, number, before[..., unit])
        if site == "attn.head":  # a slice of norm 0 has no direction
            expected = torch.where(before == 0, 0.0, expected)
        same(f"{site} under scope {scope}", seen[0][MASK.bool()], expected[MASK.bool()])
    with intervene(lm, units, number, site=site):
        changed = logits(lm)
    if torch.equal(changed, plain) and site not in ("attn.k",):
        raise WrongError(f"{site}: writing has no effect")
    same(f"{site} afterwards", logits(lm), plain, 0.0)


def check_router(lm: LanguageModel) -> None:
    """Routing weights against a plain hook; the most used expert, off, is never chosen."""
    place = lm.sites["moe.router"]

    def chosen() -> dict[int, Tensor]:
        seen: dict[int, Tensor] = {}
        with hook_site(lm, "moe.router", lambda layer, x: seen.__setitem__(layer, x.clone())):
            lm.model(input_ids=IDS, attention_mask=MASK, use_cache=False)
        return seen

    plain = chosen()
    for layer in place.layers:
        experts = place.experts[layer]
        assert experts is not None
        sent = (plain[layer] != 0).sum(-1)
        if int(sent.max()) > experts.chosen:
            raise WrongError(f"layer {layer} sends a token to more than {experts.chosen} experts")
        if experts.listed:
            same(f"routing weights of layer {layer}", plain[layer], _routed(lm, layer))
        if experts.count == experts.chosen:
            continue
        expert = int((plain[layer] != 0).sum((0, 1)).argmax())
        with intervene(lm, Units([layer], [expert]), site="moe.router"):
            now = chosen()[layer]
        if bool((now[..., expert] != 0).any()) or not bool((now != 0).any()):
            raise WrongError(f"expert {expert} of layer {layer} is chosen although it is off")
    again = chosen()
    for layer, weights in plain.items():
        same(f"routing of layer {layer} afterwards", again[layer], weights, 0.0)


def _routed(lm: LanguageModel, layer: int) -> Tensor:
    """Routing weights (batch, sequence, experts), added up expert by expert from a plain hook."""
    experts = lm.sites["moe.router"].experts[layer]
    assert experts is not None
    given: list[Tensor] = []
    handle = experts.module.register_forward_pre_hook(
        lambda _m, args, kwargs: given.extend([*args, *kwargs.values()]), with_kwargs=True
    )
    lm.model(input_ids=IDS, attention_mask=MASK, use_cache=False)
    handle.remove()
    index = next(item for item in given if not item.is_floating_point())
    weights = next(item for item in given if item.shape == index.shape and item is not index)
    found = [(weights * (index == expert)).sum(-1) for expert in range(experts.count)]
    return torch.stack(found, -1).reshape(*IDS.shape, -1)


def check_mlp(lm: LanguageModel) -> list[int]:
    """Activation and down projection's input from the weights, where nothing else takes part.

    Returns:
        The layers whose activation reads its gate's output times a number, unit by unit.
    """
    linear = []
    for layer in lm.sites["mlp.out"].layers:
        mlp = lm.sites.mlps[layer]
        widths = {UNITS, UNITS // 2, 4 * HIDDEN}
        if lm.sites.plans[layer].experts is not None:
            widths |= {16, 32, 2 * UNITS}  # one or two shared experts
        if mlp.down.width_in not in widths or mlp.down.width_out != HIDDEN:
            raise WrongError(f"layer {layer}: the MLP is {mlp.down.width_in} wide, not {UNITS}")
        if mlp.activation is None or mlp.into is None or not mlp.direct:
            continue
        read: list[Tensor] = []
        handle = mlp.into.module.register_forward_pre_hook(
            lambda _m, args, read=read: read.append(args[0].detach().clone())
        )
        held = values(lm, "mlp.out", layer, IDS)
        handle.remove()
        gate = lm.sites.gates[layer]
        bias = gate.bias()
        pre = read[0] @ gate.matrix().T + (0 if bias is None else bias)
        given = values(lm, "mlp.pre", layer, IDS).reshape(pre.shape)
        ratio = (given / pre).flatten()
        if float(ratio.std()) > 1e-3 * float(ratio.mean().abs()):
            continue  # a function of the gate's output that is not linear (Gemma 3n's sparsity)
        linear.append(layer)
        act = mlp.activation.module(given).reshape(pre.shape)
        if mlp.up is not None and lm.sites.ups is not None:
            up = lm.sites.ups[layer]
            bias = up.bias()
            act = act * (read[0] @ up.matrix().T + (0 if bias is None else bias))
        same(f"MLP of layer {layer} by hand", held.reshape(act.shape), act)
    return linear


def check_weights(lm: LanguageModel, site: str) -> str:
    """Hooks against weights edited by hand and against ``bake``; a refusal's line or ""."""
    place = lm.sites[site]
    layer = place.layers[0]
    width = place.widths[layer]
    units = Units([layer, layer], [1, width - 1])
    factors = torch.ones(lm.layers, place.widest)
    factors[layer, [1, width - 1]] = torch.tensor([0.0, 1.75])
    what = Intervention(units, Value.of(factors), mode="multiply", site=site)
    with intervene(lm, what):
        hooked = logits(lm)
    try:
        baked = bake(lm, what)
    except InputError as error:
        return str(error)
    same(f"baked at {site}", logits(baked), hooked)
    same(f"by hand at {site}", _edited(lm, site, layer, factors[layer, :width]), hooked)
    return ""


def _edited(lm: LanguageModel, site: str, layer: int, factor: Tensor) -> Tensor:
    """Logits of a copy whose weights are multiplied in place: columns behind, rows in front."""
    net = copy.deepcopy(lm.model)
    names = {id(module): name for name, module in lm.model.named_modules()}
    place = lm.sites[site]
    behind = place.side == "input" or site == "mlp.act"
    module = lm.sites.downs[layer] if site == "mlp.act" else place.modules[layer]
    own = unwrapped(net.get_submodule(names[id(module)]))
    weight, bias = own.weight, getattr(own, "bias", None)
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        turned = weight.T if is_transposed(own) else weight  # (outputs, inputs)
        if behind:
            turned *= factor.repeat_interleave(turned.shape[1] // len(factor))
        else:
            columns = place.layer_columns[layer]
            columns = torch.arange(len(factor)) if columns is None else columns
            turned[columns] *= factor.unsqueeze(1)
            if isinstance(bias, Tensor):
                bias[columns] *= factor
        found: Tensor = net(input_ids=IDS, attention_mask=MASK, use_cache=False).logits
    return found[MASK.bool()]


def check_training(lm: LanguageModel, linear: list[int]) -> None:
    """Gradients under an intervention: those of the baked model; none into an overwritten gate."""
    place = lm.sites["mlp.out"]
    layer = place.layers[0]
    units = Units([layer, layer], [1, 3])

    def gradients(model: LanguageModel, hooks: bool) -> dict[str, Tensor]:
        net = model.model.requires_grad_(True)
        net.zero_grad()
        with intervene(model, units if hooks else None):
            net(input_ids=IDS, use_cache=False).logits.square().mean().backward()
        found = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
        net.zero_grad()
        net.requires_grad_(False)
        return found

    found = gradients(lm, True)
    if not all(bool(gradient.isfinite().all()) for gradient in found.values()):
        raise WrongError("a gradient under an intervention is not finite")
    if layer in linear and "mlp.act" in _open(lm):
        gate = lm.sites.gates[layer]
        grad = gate.module.weight.grad
        assert grad is None
        name = next(n for n, m in lm.model.named_modules() if m is unwrapped(gate.module))
        rows = found[f"{name}.weight"]
        rows = (rows.T if is_transposed(gate.module) else rows)[gate.start :][[1, 3]]
        if not lm.sites["mlp.act"].shared and float(rows.abs().max()) > 0:
            raise WrongError("a gate whose unit is overwritten is trained")
    try:
        baked = bake(lm, units)
    except InputError:
        return
    other = gradients(baked, False)
    down = next(n for n, m in lm.model.named_modules() if m is lm.sites.downs[layer])
    for name in found.keys() & other.keys() - {f"{down}.weight"}:  # whose input differs
        same(f"gradient of {name}", found[name], other[name], 1e-3)


def _open(lm: LanguageModel) -> list[str]:
    """The sites that the model has."""
    found = []
    for site in _UNITS:
        try:
            _ = lm.sites[site]
            found.append(site)
        except InputError:
            pass
    return found


def examined(model_type: str, name: str) -> dict[str, Any]:
    """One row: what became of one class."""
    row: dict[str, Any] = {"type": model_type, "class": name, "sites": {}, "bake": {}}
    try:
        net = built(model_type, name)
    except _NotBuiltError as error:
        return {**row, "status": "not built", "why": str(error)}
    try:
        lm = wrap(net, tokenizer(), name)
        with torch.no_grad():
            for site in _UNITS:
                row["sites"][site] = _at_site(lm, site, row)
            if any(plan.experts for plan in lm.sites.plans):
                row["sites"]["moe.router"] = _at_router(lm)
            linear = check_mlp(lm) if row["sites"]["mlp.out"] == "exact" else []
        if row["sites"]["mlp.act"] == "exact":
            check_training(lm, linear)
    except (InputError, RunError) as error:
        return {**row, "status": "refused", "why": str(error)}
    except Exception as error:  # a wrong number, or anything that users would see as a traceback
        where = traceback.extract_tb(error.__traceback__)[-1]
        at = f" ({Path(where.filename).name}:{where.lineno})"
        kind = "" if isinstance(error, WrongError) else f"{type(error).__name__}: "
        return {**row, "status": "wrong", "why": f"{kind}{_line(error)}{at}"}
    exact = [site for site, found in row["sites"].items() if found == "exact" and site != "resid"]
    if not exact:
        return {**row, "status": "refused", "why": row["sites"]["mlp.act"]}
    return {**row, "status": "exact", "why": "", "widths": _widths(lm)}


def _at_site(lm: LanguageModel, site: str, row: dict[str, Any]) -> str:
    try:
        place = lm.sites[site]
    except InputError as error:
        return str(error)
    check_interventions(lm, site)
    if site not in ("mlp.pre", "resid"):
        row["bake"][site] = check_weights(lm, site) or "exact"
    if len(set(place.widths)) > 1:
        row.setdefault("uneven", []).append(site)
        return "exact"
    check_statistics(lm, site)
    return "exact"


def _at_router(lm: LanguageModel) -> str:
    try:
        check_router(lm)
    except RunError as error:  # said in the first pass, where it shows
        return str(error)
    return "exact"


def _widths(lm: LanguageModel) -> dict[str, list[int]]:
    return {site: list(lm.sites[site].widths) for site in _open(lm)}


def classes() -> dict[str, str]:
    """Every class and the first model type that it is registered for."""
    found: dict[str, str] = {}
    for model_type, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        found.setdefault(name, model_type)
    return found


def rows(only: str | None = None) -> Iterator[dict[str, Any]]:
    """Every class's row, from the record where it stands there."""
    done: dict[str, dict[str, Any]] = {}
    if RECORD.is_file():
        done = {row["class"]: row for row in json.loads(RECORD.read_text("utf-8"))["rows"]}
    for name, model_type in classes().items():
        if only is not None and not {model_type, name} & set(only.split(",")):
            continue
        if only is not None or name not in done:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                done[name] = examined(model_type, name)
            RECORD.parent.mkdir(exist_ok=True)
            kept = {"transformers": transformers.__version__, "rows": list(done.values())}
            write_text(RECORD, json.dumps(kept, indent=1) + "\n")
        yield done[name]


_INTRO = """# Every decoder of Transformers, tried

Made by `python -m scripts.census`; tested by `tests/test_models_census.py` (slow). Each of the
{count} classes that Transformers {version} registers for causal language modelling is built tiny
from its own configuration class, with random weights and random biases, and goes through
statistics, identification, interventions at every site and scope, baking and a training step.
Values are held against plain hooks, the MLP against its weights, hooks against weights edited by
hand and against the baked model, gradients under hooks against those of the baked model. {exact}
classes are exact at the sites named ({mixtures} of them mixtures, whose routers are read and
changed, see [experts](experts.md)), {refused} are refused ({experts} of them mixtures of experts),
{unbuilt} could not be built so small or do not run on ids alone; wrong: {wrong}.

A site in brackets is one where layers differ in width or some lack it: interventions and baking
work there on units of the layers that have them, statistics where those have as many
([interventions](interventions.md)). *Into weights* names the sites whose interventions can be
baked. Gemma 3n and Gemma 4 are built without layers that share their keys and values with earlier
ones (`num_kv_shared_layers` 0), so nothing is said here of those that have them.

| class | outcome | MLP | attention | experts | into weights | why not the others |
| --- | --- | --- | --- | --- | --- | --- |
"""


def page(found: list[dict[str, Any]]) -> str:
    """The page of the documentation, from all rows."""
    kinds = ("exact", "refused", "not built", "wrong")
    count = {kind: sum(row["status"] == kind for row in found) for kind in kinds}
    intro = _INTRO.format(
        count=len(found),
        version=transformers.__version__,
        exact=count["exact"],
        refused=count["refused"],
        experts=sum("mixture of experts" in row["why"] for row in found),
        mixtures=sum(row["sites"].get("moe.router") == "exact" for row in found),
        unbuilt=count["not built"],
        wrong=count["wrong"] or "none",
    )
    return intro + "".join(_row(row) for row in sorted(found, key=lambda row: row["class"].lower()))


def _row(row: dict[str, Any]) -> str:
    good = [site for site, said in row["sites"].items() if said == "exact"]
    baked = [site for site, said in row["bake"].items() if said == "exact"]
    reasons = [row["why"]] if row["why"] else []
    if row["status"] == "exact":
        refused = {**row["sites"], **{f"bake {site}": said for site, said in row["bake"].items()}}
        reasons = [said for said in dict.fromkeys(refused.values()) if said != "exact"]
    cells = [
        f"`{row['class']}`",
        row["status"],
        _listed(good, "mlp.", row),
        _listed(good, "attn.", row),
        _listed(good, "moe.", row),
        " ".join(baked) if row["status"] == "exact" else "",
        "; ".join(_short(said) for said in reasons),
    ]
    return f"| {' | '.join(cells)} |\n"


def _listed(sites: list[str], kind: str, row: dict[str, Any]) -> str:
    if row["status"] != "exact":
        return ""
    names = [site for site in sites if site.startswith(kind)]
    uneven = row.get("uneven", [])
    return " ".join(
        f"({site[len(kind) :]})" if site in uneven else site[len(kind) :] for site in names
    )


def _short(said: str) -> str:
    """The first clause of a refusal, without lists of modules."""
    said = re.split(r"; modules|: use |: its units|\. Use|: choose", said)[0]
    return said.replace("|", "/").strip()[:170]


def main() -> None:
    """Try the classes; write the page when all were tried."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--again", action="store_true", help="forget what was tried before")
    parser.add_argument("--only", help="model types or classes, with commas")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    if options.again:
        RECORD.unlink(missing_ok=True)
    found = []
    total = len(classes())
    for number, row in enumerate(rows(options.only), 1):
        found.append(row)
        print(f"{number:3}/{total} {row['status']:9} {row['class']} {row['why'][:150]}", flush=True)
        if options.only:
            print(json.dumps(row, indent=1, ensure_ascii=False))
    if options.only is None:
        write_text(PAGE, page(found))
        print(PAGE)


if __name__ == "__main__":
    main()
