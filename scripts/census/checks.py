"""What every class goes through, each number beside one worked out without the library."""

from __future__ import annotations

import copy
from typing import Any, get_args

import torch
from scripts.census import inside
from scripts.census.building import HIDDEN, IDS, UNITS
from scripts.census.comparing import WrongError, same
from torch import Tensor

from langneurons.errors import InputError
from langneurons.identification import Units, identify
from langneurons.intervention import Intervention, Value, bake, intervene
from langneurons.intervention.interventions import Scope
from langneurons.models import SITES, LanguageModel, hook_site
from langneurons.models.projection import is_transposed, unwrapped
from langneurons.statistics import collect

UNIT_SITES = tuple(site for site in SITES if site != "moe.router")
"""Sites whose units are numbers that the model computes; those of a router are its choices."""

MASK = (IDS != 0).long()
TEXTS = {
    "a": [" ".join(f"w{number}" for number in range(20, 44))],
    "b": [" ".join(f"w{number}" for number in range(90, 114))],
}


def logits(lm: LanguageModel) -> Tensor:
    """Logits of the padded batch at its real tokens."""
    found: Tensor = lm.model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits
    return found[MASK.bool()]


def values(lm: LanguageModel, site: str, layer: int, ids: Tensor, **more: Tensor) -> Tensor:
    """What a layer's units hold, read by a plain hook of PyTorch: (batch, sequence, units)."""
    if site in inside.SITES:
        return inside.values(lm, site, layer, ids, **more)
    place = lm.sites[site]
    module, within, found = place.modules[layer], [False], []

    def look(tensor: Tensor) -> None:
        if not within[0]:
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
    handles = [owner.register_forward_pre_hook(lambda *_: within.__setitem__(0, True))]
    if place.side == "output":
        handles.append(module.register_forward_hook(lambda _m, _a, out: look(first(out))))
    else:
        handles.append(
            module.register_forward_pre_hook(
                lambda _m, args, kwargs: look(args[0] if args else next(iter(kwargs.values()))),
                with_kwargs=True,
            )
        )
    handles.append(owner.register_forward_hook(lambda *_: within.__setitem__(0, False)))
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
    if neurons.shape != (lm.layers, lm.sites[site].common):
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
    number = 0.625
    before = values(lm, site, layer, IDS, attention_mask=MASK)
    runs = torch.ones_like(before, dtype=torch.bool)
    if site in inside.SITES:
        runs = inside.routed(lm, site, layer, IDS, attention_mask=MASK)
    pair = two_units(lm, site, layer)
    units = Units([layer, layer], pair)
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
        for unit in pair:
            written = where & runs[..., unit]
            expected[..., unit] = torch.where(written, number, before[..., unit])
        if site == "attn.head":  # a slice of norm 0 has no direction
            expected = torch.where(before == 0, 0.0, expected)
        same(f"{site} under scope {scope}", seen[0][MASK.bool()], expected[MASK.bool()])
    with intervene(lm, units, number, site=site):
        changed = logits(lm)
    if torch.equal(changed, plain) and site not in ("attn.k",):
        raise WrongError(f"{site}: writing has no effect")
    same(f"{site} afterwards", logits(lm), plain, 0.0)


def two_units(lm: LanguageModel, site: str, layer: int) -> list[int]:
    """Two units; inside experts the first and the last of the one that runs most often."""
    place = lm.sites[site]
    if place.inner is None:
        return [0, place.widths[layer] - 1]
    runs = inside.routed(lm, site, layer, IDS, attention_mask=MASK)
    first = int(runs[..., :: place.inner].sum((0, 1)).argmax()) * place.inner
    return [first, first + place.inner - 1]


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
    pair = [1, width - 1]
    if place.inner is not None:
        pair = two_units(lm, site, layer)
    units = Units([layer, layer], pair)
    factors = torch.ones(lm.layers, place.widest)
    factors[layer, pair] = torch.tensor([0.0, 1.75])
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
    if site in inside.SITES:
        with torch.no_grad():
            inside.scaled(own, factor)
            changed: Tensor = net(input_ids=IDS, attention_mask=MASK, use_cache=False).logits
        return changed[MASK.bool()]
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
    if layer in linear and "mlp.act" in open_sites(lm):
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


def open_sites(lm: LanguageModel) -> list[str]:
    """The sites that the model has."""
    found = []
    for site in UNIT_SITES:
        try:
            _ = lm.sites[site]
            found.append(site)
        except InputError:
            pass
    return found
