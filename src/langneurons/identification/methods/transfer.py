"""Transfer neurons: units that carry a language into or out of the shared space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from langneurons.data import Blocks, batches, make_blocks
from langneurons.errors import InputError
from langneurons.identification.attribution import check_finite
from langneurons.identification.method import Found, ModelInput, method
from langneurons.identification.selection import take_top
from langneurons.models import LanguageModel, hook_site, read_outputs
from langneurons.models.projection import matrix
from langneurons.models.residual import mlp_writes
from langneurons.progress import track
from langneurons.statistics import run_backbone

_SITE = "mlp.out"


@method("transfer", needs="model")
def transfer(
    given: ModelInput,
    *,
    kind: Literal[1, 2] = 2,
    pivot: str = "en",
    top: float = 1000,
    layers: tuple[int, int] | None = None,
    block: int = 256,
    batch_tokens: int = 4096,
) -> Found:
    """Units whose contribution moves a sentence's last hidden state towards a centroid.

    With h the residual stream before the MLP is added at a sentence's last token, m_u the unit's
    value at ``mlp.out``, v_u its column of the down projection and c a centroid,

        score(u) = mean over sentences of  cos(h + m_u v_u, c) - cos(h, c).

    Type 1 (``kind=1``, into the shared space): c is the mean over sentences of the mean of the
    last-token states, after that layer, of a sentence in ``pivot`` and its translation; the
    first 62.5 % of the layers. The texts must be parallel, and the pivot gets no units itself.
    Type 2 (``kind=2``, out of it, into the language's own space): c is the mean of the language's
    own states; the last third of the layers. The ``top`` units are taken for each language.

    A norm behind the down projection (Gemma 2 and 3, OLMo 2, GLM 4) scales what the MLP adds; its
    scale at the token is part of v_u. h is what a layer returns minus what its MLP added, which
    also covers layers that run attention and MLP in parallel.

    Source: arXiv 2509.17030 (EMNLP 2025); their layers 0 to 20 of 32 for type 1.

    Complexity: one forward pass over the sentences without the head and three products
    (sentences, d) x (d, U) a layer; memory for one batch's last tokens, never for
    sentences x layers x units.

    Args:
        given: Model, and language to sentences (an entry is cut after ``block`` tokens) or blocks.
        kind: 1 or 2.
        pivot: The language that the others share their space with, for type 1.
        top: Number (int) or share (float) of all units to take for each language.
        layers: First layer and one past the last; None for the range of the kind.
        block: Most tokens of a sentence.
        batch_tokens: Most positions in a batch.

    Raises:
        InputError: If the layers lie outside the model, texts are not parallel, or the pivot is
            missing.
    """
    lm = given.lm
    first, last = layers if layers is not None else _default_layers(kind, lm.layers)
    if not 0 <= first < last <= lm.layers:
        raise InputError(
            f"layers ({first}, {last}) lie outside the model's {lm.layers} layers: choose others."
        )
    blocks = {
        language: _sentences(lm, item, block, language) for language, item in given.texts.items()
    }
    if kind == 1:
        _check_parallel(blocks, pivot)
    chosen = range(first, last)
    states = {
        language: _last_states(lm, item, chosen, batch_tokens, language)
        for language, item in blocks.items()
    }
    scores = {}
    for language, item in blocks.items():
        if kind == 1 and language == pivot:
            continue
        centroid = states[language].mean(1)
        if kind == 1:
            centroid = (centroid + states[pivot].mean(1)) / 2
        scores[language] = _towards(lm, item, chosen, centroid, batch_tokens, language)
    facts = {"layer_range": [first, last]}
    return Found(scores=scores, selected=take_top(scores, top), facts=facts, site=_SITE)


def _default_layers(kind: int, layers: int) -> tuple[int, int]:
    if kind == 1:
        return 0, max(1, round(layers * 20 / 32))
    return min(layers - 1, layers - layers // 3), layers


def _sentences(
    lm: LanguageModel, texts: Sequence[str] | Blocks, block: int, language: str
) -> Blocks:
    """One block per sentence: its first ``block`` tokens."""
    if isinstance(texts, Blocks):
        made = texts
    else:
        try:
            made = make_blocks(texts, lm.tokenizer, block=block)
        except InputError as error:
            raise InputError(f"language {language!r}: {error}") from error
    fresh = torch.ones(len(made), dtype=torch.bool)
    fresh[1:] = made.document[1:] != made.document[:-1]
    return made[fresh]


def _check_parallel(blocks: Mapping[str, Blocks], pivot: str) -> None:
    if pivot not in blocks:
        raise InputError(
            f"transfer neurons of kind 1 need parallel text in {pivot!r}: add it, or name another "
            "pivot."
        )
    for language, item in blocks.items():
        if not torch.equal(item.document, blocks[pivot].document):
            raise InputError(
                f"texts of {language!r} and {pivot!r} are not parallel ({len(item)} and "
                f"{len(blocks[pivot])} sentences with text): give one translation per sentence."
            )


@dataclass
class _Layer:
    """What one layer computes at the last token of each sentence of a batch, float32."""

    output: Tensor  # (b, d)
    added: Tensor  # (b, d), what the MLP adds to the residual stream
    scale: Tensor  # (b, d), added / output of the down projection
    values: Tensor  # (b, U) at mlp.out


class _LastTokens:
    """Keeps each hooked tensor at the last token of every sentence of the current batch."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], Tensor] = {}
        self._shape = torch.Size()
        self._last = torch.empty(0)

    def begin(self, attention_mask: Tensor) -> None:
        """Forget the batch before; ``attention_mask`` (b, t) says where sentences end."""
        self.kept.clear()
        self._shape = attention_mask.shape
        self._last = self._shape[1] - 1 - attention_mask.int().flip(1).argmax(1)

    def keep(self, kind: str) -> Callable[[int, Tensor], None]:
        """A hook function that keeps what it is given under ``kind``."""

        def hook(number: int, tensor: Tensor) -> None:
            whole = tensor.reshape(*self._shape, -1)
            row = torch.arange(len(whole), device=whole.device)
            self.kept[kind, number] = whole[row, self._last.to(whole.device)].float()

        return hook


def _batches(
    lm: LanguageModel, blocks: Blocks, layers: range, batch_tokens: int, name: str
) -> Iterator[dict[int, _Layer]]:
    """Run the backbone over the sentences; yield each layer's values at their last tokens."""
    decoders = [lm.layer_modules[layer] for layer in layers]
    downs = [lm.sites["mlp.out"].modules[layer] for layer in layers]
    writes = mlp_writes(lm)
    adding = [writes[layer].module for layer in layers]
    tokens = _LastTokens()
    with (
        track(name, len(blocks), "sentences") as bar,
        torch.no_grad(),
        read_outputs(decoders, tokens.keep("output")),
        read_outputs(downs, tokens.keep("down")),
        read_outputs(adding, tokens.keep("added")),
        hook_site(lm, "mlp.out", tokens.keep("value"), layers=list(layers)),
    ):
        for batch in batches(blocks, batch_tokens=batch_tokens):
            tokens.begin(batch.attention_mask)
            run_backbone(lm, batch.input_ids, batch.attention_mask)
            found = {}
            for number, layer in enumerate(layers):
                factor = writes[layer].factor
                down = tokens.kept["down", number]
                added = tokens.kept["added", number] * factor
                scale = torch.full_like(down, factor)
                if writes[layer].normed:
                    nonzero = down != 0
                    scale = torch.where(nonzero, added / torch.where(nonzero, down, 1.0), 0.0)
                found[layer] = _Layer(
                    tokens.kept["output", number], added, scale, tokens.kept["value", layer]
                )
            yield found
            bar.advance(len(batch.document))


def _last_states(
    lm: LanguageModel, blocks: Blocks, layers: range, batch_tokens: int, language: str
) -> Tensor:
    """Sum-ready last-token states, (layers, sentences, d) float32, on the CPU."""
    parts = [
        torch.stack([found[layer].output.cpu() for layer in layers])
        for found in _batches(lm, blocks, layers, batch_tokens, f"centroid {language}")
    ]
    return torch.cat(parts, dim=1)


def _towards(
    lm: LanguageModel,
    blocks: Blocks,
    layers: range,
    centroid: Tensor,
    batch_tokens: int,
    language: str,
) -> Tensor:
    """Mean gain in cosine with the centroid, float64 (L, U); -inf outside the layers."""
    place = lm.sites["mlp.out"]
    total = torch.zeros((lm.layers, place.width), dtype=torch.float64)
    for found in _batches(lm, blocks, layers, batch_tokens, f"transfer {language}"):
        for number, layer in enumerate(layers):
            columns = _columns(place.modules[layer])
            goal = centroid[number].to(columns.device)
            for part in range(0, columns.shape[1], _COLUMNS_AT_ONCE):
                some = slice(part, part + _COLUMNS_AT_ONCE)
                gained = _gain(found[layer], columns[:, some].float(), goal, some)
                total[layer, some] += gained.double().sum(0).cpu()
    check_finite(lm, language, total)
    total /= len(blocks)
    outside = torch.ones(lm.layers, dtype=torch.bool)
    outside[list(layers)] = False
    total[outside] = -torch.inf
    return total


def _columns(module: nn.Module) -> Tensor:
    """Down projection as (d, U), a view."""
    return matrix(module).detach()


_COLUMNS_AT_ONCE = 1024  # units of which a copy in float32 exists


def _gain(found: _Layer, columns: Tensor, goal: Tensor, some: slice) -> Tensor:
    """cos(h + m_u v_u, c) - cos(h, c) for each sentence and some units, (b, u); columns (d, u).

    With v_u scaled by g elementwise, the products need no (d, U) tensor per sentence:
    (h + m g v) . c = h.c + m (g c) . v, and |h + m g v|^2 = |h|^2 + 2 m (g h) . v + m^2 g^2 . v^2.
    """
    base = found.output - found.added
    tiny = torch.finfo(torch.float32).tiny
    along_goal = (found.scale * goal) @ columns
    along_base = (found.scale * base) @ columns
    square = found.scale.square() @ columns.square()
    value = found.values[:, some]
    goal_norm = goal.norm().clamp_min(tiny)
    base_square = base.square().sum(1, keepdim=True)
    before = (base @ goal)[:, None]
    moved = (base_square + 2 * value * along_base + value.square() * square).clamp_min(tiny)
    start = before / base_square.clamp_min(tiny).sqrt()
    gain: Tensor = ((before + value * along_goal) / moved.sqrt() - start) / goal_norm
    return gain
