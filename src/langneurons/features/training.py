"""Training sparse autoencoders on a stream of activations, with checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from langneurons.artifacts import digest, read_tensors, write_tensors
from langneurons.errors import ArtifactError, InputError, RunError
from langneurons.features.autoencoder import Autoencoder
from langneurons.features.stream import Stream
from langneurons.progress import track

if TYPE_CHECKING:
    from langneurons.data import Blocks
    from langneurons.models import LanguageModel

_FIRST_ROWS = 2000


@dataclass(frozen=True)
class Recipe:
    """How autoencoders are trained.

    Attributes:
        kind: ``topk`` or ``jumprelu``.
        features: Number of features.
        k: Features per token; of ``jumprelu`` the number its penalty aims at.
        tokens: Tokens trained on (text is repeated if shorter).
        batch: Tokens in a step.
        learning_rate: Of Adam, betas 0.9 and 0.999; risen over the first 5 % of the steps, fallen
            to 0 over the last 20 %.
        auxiliary: Weight of the loss that revives dead features (``topk``).
        dead_after: A feature is dead that has not fired for so many tokens.
        bandwidth: Width of the kernel of the straight-through gradient (``jumprelu``).
        sparsity: Weight of (L0 / k - 1)^2 (``jumprelu``).
        seed: Of weights and order.
        checkpoint_buffers: Buffers between two checkpoints.
    """

    kind: Literal["topk", "jumprelu"] = "topk"
    features: int = 512
    k: int = 16
    tokens: int = 200_000
    batch: int = 512
    learning_rate: float = 2e-3
    auxiliary: float = 1 / 32
    dead_after: int = 20_000
    bandwidth: float = 0.1
    sparsity: float = 0.3
    seed: int = 0
    checkpoint_buffers: int = 20

    def __post_init__(self) -> None:
        if self.kind not in ("topk", "jumprelu"):
            raise InputError(f"kind of features {self.kind!r} is none of topk, jumprelu.")
        for name in ("features", "k", "tokens", "batch", "dead_after", "checkpoint_buffers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.k > self.features:
            raise InputError(
                f"k ({self.k}) is above the number of features ({self.features}): lower k."
            )


class _Jump(torch.autograd.Function):
    """p H(p - t) with the straight-through gradient to the threshold t (arXiv 2407.14435)."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, t: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(p, t)
        ctx.bandwidth = bandwidth
        return p * (p > t)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        p, t = ctx.saved_tensors
        near = ((p - t).abs() < ctx.bandwidth / 2).to(p)
        to_threshold = (-(t / ctx.bandwidth) * near * gradient).sum(0)
        return gradient * (p > t), to_threshold, None


class _Step(torch.autograd.Function):
    """H(p - t), the number of features on, with the same estimator."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, t: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(p, t)
        ctx.bandwidth = bandwidth
        return (p > t).to(p)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = gradients
        p, t = ctx.saved_tensors
        near = ((p - t).abs() < ctx.bandwidth / 2).to(p)
        return None, (-(1 / ctx.bandwidth) * near * gradient).sum(0), None


class Learner(nn.Module):
    """An autoencoder that learns, on inputs scaled to a mean squared norm of their width.

    Args:
        width: Activations.
        recipe: The recipe.
        centre: Mean of the activations, float32 (width,), in scaled units.
        scale: Factor activations are multiplied with.
    """

    def __init__(self, width: int, recipe: Recipe, centre: Tensor, scale: float) -> None:
        super().__init__()
        self.recipe, self.scale = recipe, scale
        generator = torch.Generator().manual_seed(recipe.seed)
        decoder = torch.randn(recipe.features, width, generator=generator)
        decoder /= decoder.norm(dim=1, keepdim=True)
        self.w_dec = nn.Parameter(decoder)
        self.w_enc = nn.Parameter(decoder.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(recipe.features))
        self.b_dec = nn.Parameter(centre.clone())
        self.log_threshold = nn.Parameter(
            torch.zeros(recipe.features), requires_grad=recipe.kind == "jumprelu"
        )
        self.register_buffer("silent", torch.zeros(recipe.features, dtype=torch.int64))

    silent: Tensor
    """Tokens since each feature last fired, int64 (features,)."""

    def loss(self, x: Tensor) -> Tensor:
        """Reconstruction error as a share of the variance, plus the kind's own term.

        ``topk``: + auxiliary x the error of reconstructing the residual by the best dead features.
        ``jumprelu``: + sparsity x (L0 / k - 1)^2, which aims at k features a token instead of
        leaving their number to a coefficient.
        """
        recipe = self.recipe
        x = x * self.scale
        before = (x - self.b_dec) @ self.w_enc + self.b_enc
        if recipe.kind == "topk":
            best = before.topk(recipe.k, dim=-1)
            z = torch.zeros_like(before).scatter(-1, best.indices, best.values.relu())
        else:
            threshold = self.log_threshold.exp()
            z = _Jump.apply(before.relu(), threshold, recipe.bandwidth)
        with torch.no_grad():
            fired = (z > 0).any(0)
            self.silent += len(x)
            self.silent[fired] = 0
        residual = x - (z @ self.w_dec + self.b_dec)
        variance = (x - x.mean(0)).square().sum().detach().clamp_min(1e-12)
        loss: Tensor = residual.square().sum() / variance
        if recipe.kind == "jumprelu":
            on = _Step.apply(before, self.log_threshold.exp(), recipe.bandwidth)
            penalty: Tensor = (on.sum(-1).mean() / recipe.k - 1).square()
            return loss + recipe.sparsity * penalty
        dead = self.silent >= recipe.dead_after
        count = min(2 * recipe.k, int(dead.sum()))
        if recipe.auxiliary and count:
            best = before.masked_fill(~dead, -torch.inf).topk(count, dim=-1)
            again = torch.zeros_like(before).scatter(-1, best.indices, best.values.relu())
            left = residual.detach()
            share = (left - again @ self.w_dec).square().sum() / left.square().sum().clamp_min(
                1e-12
            )
            loss = loss + recipe.auxiliary * share
        return loss

    @torch.no_grad()
    def normalise(self) -> None:
        """Give the decoder's rows norm 1 again."""
        self.w_dec.div_(self.w_dec.norm(dim=1, keepdim=True).clamp_min(1e-8))

    @torch.no_grad()
    def finished(self, about: Mapping[str, Any]) -> Autoencoder:
        """The autoencoder for unscaled activations, decoder rows of norm 1."""
        jump = self.recipe.kind == "jumprelu"
        return Autoencoder(
            self.recipe.kind,
            self.w_enc.detach().clone(),
            self.b_enc.detach() / self.scale,
            self.w_dec.detach().clone(),
            self.b_dec.detach() / self.scale,
            threshold=self.log_threshold.detach().exp() / self.scale if jump else None,
            k=None if jump else self.recipe.k,
            about=dict(about),
        )


def train(
    lm: LanguageModel,
    blocks: Mapping[str, Blocks],
    site: str,
    layers: list[int],
    recipe: Recipe,
    *,
    folder: Path | None = None,
) -> dict[int, Autoencoder]:
    """Train one autoencoder a layer, all in one pass of the model.

    Args:
        lm: The model; its weights do not learn.
        blocks: Language to blocks of text.
        site: Where activations are read.
        layers: Layers.
        recipe: The recipe.
        folder: Where checkpoints lie; a run that was killed goes on from the last one. They are
            removed at the end.

    Returns:
        Layer to autoencoder.

    Raises:
        RunError: If a loss is not a number.
    """
    stream = Stream(lm, blocks, site, layers, seed=recipe.seed)
    first = stream.buffer(0)
    learners = {layer: _begin(rows, recipe) for layer, rows in first.items()}
    optimisers = {
        layer: torch.optim.Adam(
            [p for p in item.parameters() if p.requires_grad], lr=recipe.learning_rate
        )
        for layer, item in learners.items()
    }
    steps = max(1, recipe.tokens // recipe.batch)
    key = digest(lm.fingerprint, site, layers, asdict(recipe),
                 [item.fingerprint for item in blocks.values()])  # fmt: skip
    checkpoint = None if folder is None else folder / "checkpoint.safetensors"
    done, start = _resume(checkpoint, key, learners, optimisers)
    saved = start
    with track(f"features ({recipe.kind})", steps * recipe.batch, "tokens") as bar:
        bar.skip(done * recipe.batch)
        for number, rows in stream.batches(start, recipe.batch) if done < steps else ():
            if checkpoint and number - saved >= recipe.checkpoint_buffers:
                # Between two buffers: what was seen of the last one is all of it.
                _save(checkpoint, key, learners, optimisers, done, number)
                saved = number
            rate = _rate(done / steps)
            for layer, x in rows.items():
                _step(learners[layer], optimisers[layer], x.cpu(), rate * recipe.learning_rate)
            done += 1
            bar.advance(recipe.batch)
            if done >= steps:
                break
    about = {"model_name": lm.name, "model": lm.fingerprint, "site": site,
             "languages": list(blocks), "recipe": asdict(recipe)}  # fmt: skip
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return {
        layer: item.finished({**about, "layer": layer, "hook_name": f"{site}.{layer}"})
        for layer, item in learners.items()
    }


def _begin(rows: Tensor, recipe: Recipe) -> Learner:
    rows = rows.cpu()
    width = rows.shape[1]
    size = float(rows.double().square().sum(1).mean())
    scale = (width / size) ** 0.5 if size > 0 else 1.0
    learner = Learner(width, recipe, rows.mean(0) * scale, scale)
    with torch.no_grad():
        few = rows[:_FIRST_ROWS] * scale
        before = (few - learner.b_dec) @ learner.w_enc
        # Twice as many features on as are wanted in the end, so that all of them learn at first.
        on = min(2 * recipe.k / recipe.features, 0.5)
        limit = float(np.quantile(before.numpy(), 1 - on))
        learner.log_threshold.fill_(math.log(max(limit, 1e-3)))
    return learner


def _step(learner: Learner, optimiser: torch.optim.Adam, x: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    loss = learner.loss(x)
    if not torch.isfinite(loss):
        raise RunError("the loss of the features is not a number: lower their learning_rate.")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
    optimiser.step()
    learner.normalise()


def _rate(progress: float) -> float:
    """Factor of the learning rate."""
    return min(1.0, (progress + 1e-3) / 0.05, (1 - progress) / 0.2)


def _save(
    path: Path,
    key: str,
    learners: Mapping[int, Learner],
    optimisers: Mapping[int, torch.optim.Adam],
    done: int,
    number: int,
) -> None:
    tensors = {}
    for layer, learner in learners.items():
        for name, value in learner.state_dict().items():
            tensors[f"{layer}.{name}"] = value
        for name, parameter in learner.named_parameters():
            for what, value in optimisers[layer].state.get(parameter, {}).items():
                tensors[f"{layer}.{name}.{what}"] = torch.as_tensor(value)
    write_tensors(path, tensors, {"key": key, "done": done, "buffer": number})


def _resume(
    path: Path | None,
    key: str,
    learners: Mapping[int, Learner],
    optimisers: Mapping[int, torch.optim.Adam],
) -> tuple[int, int]:
    """Steps done and the buffer to go on with; 0, 0 where there is no checkpoint that fits."""
    if path is None or not path.is_file():
        return 0, 0
    try:
        tensors, metadata = read_tensors(path)
    except ArtifactError:
        return 0, 0  # cut off while it was written: begin again
    if metadata.get("key") != key:
        return 0, 0
    for layer, learner in learners.items():
        learner.load_state_dict({name: tensors[f"{layer}.{name}"] for name in learner.state_dict()})
        for name, parameter in learner.named_parameters():
            state = {
                what: tensors[f"{layer}.{name}.{what}"]
                for what in ("step", "exp_avg", "exp_avg_sq")
                if f"{layer}.{name}.{what}" in tensors
            }
            if state:
                optimisers[layer].state[parameter] = state
    return int(metadata["done"]), int(metadata["buffer"])
