"""The training loop: seeded steps, a checkpoint in one file, the same result after a kill."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from transformers import get_scheduler

from langneurons.artifacts import read_tensors, write_tensors
from langneurons.errors import ArtifactError, InputError, RunError
from langneurons.finetuning.attention import Float32Attention
from langneurons.finetuning.examples import (
    Batch,
    Item,
    collate,
    optimiser_steps,
    terms,
    total_steps,
)
from langneurons.finetuning.loss import accepted, loss_and_right, loss_sum
from langneurons.finetuning.processes import Processes
from langneurons.finetuning.recipe import Recipe
from langneurons.finetuning.trackers import Trackers, tracking
from langneurons.models.precision import fast_dtype
from langneurons.progress import Bar, track

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass
class TrainingLog:
    """What happened in training.

    Attributes:
        losses: Mean loss (nats per example or answer token) of every optimiser step.
        evaluations: One row per look at the development split: step, loss, accuracy.
        step: Optimiser steps done.
        best: Step whose weights were kept, where early stopping was asked for.
        seconds: Time spent in training, over all parts of a continued run.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    best: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Data:
    """What is trained on, and looked at on the way.

    Attributes:
        items: Training examples.
        development: Development examples; empty where none are looked at.
        kind: ``"classification"``, ``"qa"`` or ``"text"``.
        pad: Padding id.
        length: Length every batch is padded to, or None for its longest item.
    """

    items: Sequence[Item]
    development: Sequence[Item]
    kind: str
    pad: int
    length: int | None = None


def precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    """The dtype a recipe computes in on a device; ``auto`` is measured."""
    if recipe.dtype == "auto":
        return fast_dtype(device)
    return torch.bfloat16 if recipe.dtype == "bf16" else torch.float32


def train(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    *,
    checkpoint: Path,
    key: str,
    report_to: str | Sequence[str] = (),
) -> TrainingLog:
    """Train the parameters of ``model`` that require a gradient.

    Everything that happens in step n follows from the recipe, the data and the state after step
    n - 1, so that a run continued from a checkpoint ends with the same weights.

    Args:
        model: The model, on its device.
        data: Examples.
        recipe: How to train.
        checkpoint: File to keep the state in; removed by the caller once the result is saved.
        key: What the run is about; a checkpoint of another run is not continued.
        report_to: Trackers of Accelerate that are told of every step.

    Returns:
        Losses and evaluations.

    Raises:
        RunError: If the loss is no longer finite.
    """
    if not data.items:
        raise InputError(
            "there is nothing to train on, the training set has 0 examples: take another split."
        )
    run = _Run(model, data, recipe, checkpoint, key)
    names = report_to if run.processes.main else ()
    with tracking(names, checkpoint.parent / "logs", recipe.describe()) as trackers:
        return run.go(trackers)


class _Run:
    def __init__(
        self, model: nn.Module, data: Data, recipe: Recipe, checkpoint: Path, key: str
    ) -> None:
        self.model, self.data, self.recipe = model, data, recipe
        self.checkpoint, self.key = checkpoint, key
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.device = next(iter(self.parameters.values())).device
        self.total = total_steps(
            len(data.items),
            batch_size=recipe.batch_size,
            accumulation=recipe.accumulation,
            epochs=recipe.epochs,
            steps=recipe.steps,
        )
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()),
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.scheduler = get_scheduler(
            recipe.schedule,
            self.optimizer,
            num_warmup_steps=math.ceil(recipe.warmup * self.total),
            num_training_steps=self.total,
        )
        self.names = accepted(model)
        self.processes = Processes(self.device)
        self.dtype = precision(recipe, self.device)
        self.log = TrainingLog()
        self.best: dict[str, Tensor] = {}

    def go(self, trackers: Trackers) -> TrainingLog:
        self._restore()
        start = saved = time.monotonic()
        before = self.log.seconds
        steps = optimiser_steps(
            [len(item.ids) for item in self.data.items],
            batch_size=self.recipe.batch_size,
            accumulation=self.recipe.accumulation,
            epochs=self.recipe.epochs,
            steps=self.recipe.steps,
            seed=self.recipe.seed,
        )
        skip = self.log.step
        self.model.train()
        devices = [self.device] if self.device.type == "cuda" else []
        # Under autocast the product is taken in bfloat16 whatever the input's dtype, so PEFT's cast
        # of the input to the factors' float32 would only cost time.
        uncast = disable_input_dtype_casting(self.model, self.dtype != torch.float32)
        with (
            track("training", self.total, "steps") as bar,
            torch.random.fork_rng(devices=devices),
            uncast,
            self._attention(),
        ):
            bar.skip(skip)
            for number, micro in enumerate(steps):
                if number < skip:
                    continue
                if self._stopped():
                    break
                self._step(micro, bar, trackers)
                now = time.monotonic()
                self.log.seconds = before + now - start
                every = self.recipe.checkpoint_every
                due = (
                    now - saved >= _SECONDS_BETWEEN_CHECKPOINTS
                    if every is None
                    else self.log.step % every == 0
                )
                if due and self.processes.main:
                    self._save()
                    saved = now
        if self.best:
            self._load_parameters(self.best)
        self.model.eval()
        return self.log

    def _step(self, micro: list[list[int]], bar: Bar, trackers: Trackers) -> None:
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.log.step)
        items, kind = self.data.items, self.data.kind
        count = sum(terms(items[i], kind) for indices in micro for i in indices)
        mine = 0.0
        for indices in micro:
            share, counts = self.processes.share(indices)
            if not share:
                continue
            with self._autocast():
                loss = loss_sum(self.model, self._batch(items, share), self.names)
            (loss / count * counts).backward()
            mine += counts * loss.item() / count
        self.processes.sum_gradients(self.parameters.values())
        (total,) = self.processes.sum([mine], self.device)
        if not math.isfinite(total):
            raise RunError(
                f"the loss became {total} in step {self.log.step + 1}: lower learning_rate "
                f"(now {self.recipe.learning_rate:g}) or train with dtype='fp32'."
            )
        nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.log.step += 1
        self.log.losses.append(total)
        bar.advance()
        bar.note(f"loss {total:.3f}")
        trackers.log({"loss": total}, self.log.step)
        every = self.recipe.evaluate_every
        if every is not None and (self.log.step % every == 0 or self.log.step == self.total):
            row = self._evaluate()
            trackers.log(
                {"evaluation/loss": row["loss"], "evaluation/accuracy": row["accuracy"]},
                self.log.step,
            )

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def _attention(self) -> contextlib.AbstractContextManager[Any]:
        # A checkpointed layer runs its second forward pass from within autograd, where PyTorch
        # lifts function modes, and must compute as it did in the first.
        again = self.recipe.gradient_checkpointing
        if self.dtype == torch.bfloat16 and self.device.type == "cpu" and not again:
            return Float32Attention()
        return contextlib.nullcontext()

    def _batch(self, items: Sequence[Item], indices: Sequence[int]) -> Batch:
        batch = collate(
            [items[i] for i in indices],
            kind=self.data.kind,
            pad=self.data.pad,
            length=self.data.length,
        )
        return batch.to(self.device)

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        items = sorted(self.data.development, key=lambda item: len(item.ids))
        total, right = 0.0, 0
        self.model.eval()
        for start in range(0, len(items), self.recipe.batch_size):
            share, counts = self.processes.share(
                range(len(items))[start : start + self.recipe.batch_size]
            )
            if not share:
                continue
            with self._autocast():
                loss, hits = loss_and_right(self.model, self._batch(items, share), self.names)
            total, right = total + counts * loss.item(), right + counts * int(hits)
        self.model.train()
        total, hit = self.processes.sum([total, right], self.device)
        count = sum(terms(item, self.data.kind) for item in items)
        row = {"step": self.log.step, "loss": total / count, "accuracy": 100.0 * hit / count}
        self.log.evaluations.append(row)
        if self.recipe.patience is not None and row["loss"] <= min(
            other["loss"] for other in self.log.evaluations
        ):
            self.log.best = self.log.step
            self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        return row

    def _stopped(self) -> bool:
        if self.recipe.patience is None or self.log.best is None:
            return False
        since = [row for row in self.log.evaluations if row["step"] > self.log.best]
        return len(since) >= self.recipe.patience

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {
            f"parameter.{name}": p.detach() for name, p in self.parameters.items()
        }
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        write_tensors(
            self.checkpoint,
            tensors,
            {
                "key": self.key,
                "step": self.log.step,
                "losses": self.log.losses,
                "evaluations": self.log.evaluations,
                "best": self.log.best,
                "seconds": self.log.seconds,
                "scheduler": _plain(self.scheduler.state_dict()),
            },
        )

    def _restore(self) -> None:
        if not self.checkpoint.is_file():
            return
        try:
            tensors, state = read_tensors(self.checkpoint)
        except ArtifactError as error:
            _log.warning("%s Training starts anew.", error)
            return
        if state.get("key") != self.key:
            _log.warning("%s is of another run; training starts anew.", self.checkpoint)
            return
        groups: dict[str, dict[str, Tensor]] = {"parameter": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            head, _, rest = name.partition(".")
            groups[head][rest] = tensor
        self._load_parameters(groups["parameter"])
        self.best = {n: t.to(self.device) for n, t in groups["best"].items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in groups["optimizer"].items():
            index, _, rest = name.partition(".")
            moments.setdefault(int(index), {})[rest] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.scheduler.load_state_dict({**self.scheduler.state_dict(), **state["scheduler"]})
        rates = self.scheduler.get_last_lr()
        for settings, rate in zip(self.optimizer.param_groups, rates, strict=True):
            settings["lr"] = rate
        self.log = TrainingLog(
            losses=list(state["losses"]),
            evaluations=list(state["evaluations"]),
            step=int(state["step"]),
            best=state["best"],
            seconds=float(state["seconds"]),
        )
        _log.info("continued after step %d of %d", self.log.step, self.total)

    @torch.no_grad()
    def _load_parameters(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    # The schedule functions of Transformers are rebuilt from the recipe; only numbers are state.
    return {
        key: value
        for key, value in state.items()
        if isinstance(value, (int, float, bool, str, list)) and key != "lr_lambdas"
    }
