"""Makes the built-in model: tokenizer and training.

The training loop is short and its own because every document is made on the fly from the seed and
the step, and the loss weighs answers more than other tokens.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaForCausalLM, MixtralForCausalLM, PreTrainedTokenizerFast
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from langneurons import artifacts, mini, progress
from langneurons.errors import InputError
from langneurons.mini.model import new_model, upcycled
from langneurons.mini.recipe import Recipe
from langneurons.mini.tokens import load_tokenizer, train_tokenizer
from langneurons.mini.world import stream

_SAVE_SECONDS = 120.0
_STATE = "training"

Model: TypeAlias = LlamaForCausalLM | MixtralForCausalLM


@dataclass(frozen=True)
class Batch:
    """Token ids and the loss weight of predicting each of them.

    Attributes:
        ids: (rows, length) int64.
        weights: (rows, length) float32; zero where the token is not predicted.
        answers: (rows, length) bool, the tokens of an answer.
    """

    ids: torch.Tensor
    weights: torch.Tensor
    answers: torch.Tensor


class Batches(Dataset[Batch]):
    """The batch of every step, a pure function of recipe, seed and step."""

    def __init__(
        self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int
    ) -> None:
        self.recipe, self.tokenizer, self.seed, self.steps = recipe, tokenizer, seed, steps

    def __len__(self) -> int:
        """Number of steps."""
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        """Make the batch of a step."""
        stage = self.recipe.stage(step, self.steps)
        rng = stream("train", self.seed, step)
        shape = (stage.rows, stage.length)
        ids = np.full(shape, self.tokenizer.eos_token_id, dtype=np.int64)
        answers = np.zeros(shape, dtype=bool)
        for row in range(stage.rows):
            at = 0
            while at < stage.length:
                made = self.recipe.sample(rng, stage)
                encoding = self.tokenizer._tokenizer.encode(made.text)
                room = stage.length - at
                flags = np.zeros(len(encoding.ids), dtype=bool)
                for start, end in made.answers:
                    first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
                    flags[first : last + 1] = True
                taken = min(room, len(encoding.ids))
                ids[row, at : at + taken] = encoding.ids[:taken]
                answers[row, at : at + taken] = flags[:taken]
                at += taken + 1  # one end-of-text token between documents
        # Ordinary tokens are many and easy: a random part of them is enough, and halves the work
        # of the output layer. Dividing by the share keeps their expected weight.
        kept = np.random.default_rng([self.seed, step]).random(shape) < self.recipe.loss_share
        ordinary = np.where(kept, stage.text_weight / self.recipe.loss_share, 0.0)
        weights = np.where(answers, 1.0, ordinary).astype(np.float32)
        weights[:, 0] = 0.0
        return Batch(torch.from_numpy(ids), torch.from_numpy(weights), torch.from_numpy(answers))


def loss_and_accuracy(
    model: Model, batch: Batch, device: torch.device, body: Any = None
) -> tuple[torch.Tensor, float]:
    """Weighted loss of a batch, and the share of answer tokens that are predicted right.

    A mixture's loss holds its load-balancing loss, of each layer by itself. `body` stands in for
    ``model.model`` (its compiled form).
    """
    body = model.model if body is None else body
    weights = batch.weights[:, 1:].reshape(-1)
    chosen = weights.nonzero().squeeze(1)
    ids = batch.ids.to(device)
    weight_of_balance = getattr(model.config, "router_aux_loss_coef", 0.0)
    extra = {"output_router_logits": True} if weight_of_balance else {}
    out = body(input_ids=ids, use_cache=False, **extra)
    hidden = out.last_hidden_state[:, :-1]
    hidden = hidden.reshape(-1, hidden.shape[-1])[chosen.to(device)]
    logits = model.lm_head(hidden).float()
    targets = ids[:, 1:].reshape(-1)[chosen.to(device)]
    weight = weights[chosen].to(device)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    flags = batch.answers[:, 1:].reshape(-1)[chosen].to(device)
    with torch.no_grad():
        right = (logits[flags].argmax(-1) == targets[flags]).float().mean().item()
    loss = (losses * weight).sum() / weight.sum()
    if weight_of_balance:
        uneven = [
            load_balancing_loss_func(
                (logits,), model.config.num_local_experts, model.config.num_experts_per_tok
            )
            for logits in out.router_logits
        ]
        loss = loss + weight_of_balance * torch.stack(uneven).mean()
    return loss, right


class _Training:
    """Model, optimizers and step: what a killed build needs to go on."""

    def __init__(self, model: Model, recipe: Recipe, folder: Path) -> None:
        self.model, self.recipe, self.folder = model, recipe, folder
        named = dict(model.named_parameters())
        matrices = {n: p for n, p in named.items() if p.ndim == 2 and "embed" not in n}
        self.optimizers: list[torch.optim.Optimizer] = []
        self.rates: list[float] = []
        if recipe.muon_rate:
            self.optimizers.append(
                torch.optim.Muon(
                    list(matrices.values()),
                    lr=recipe.muon_rate,
                    momentum=0.95,
                    weight_decay=recipe.weight_decay,
                )
            )
            self.rates.append(recipe.muon_rate)
        else:
            matrices = {}
        self.optimizers.append(
            torch.optim.AdamW(
                [p for n, p in named.items() if n not in matrices],
                lr=recipe.learning_rate,
                betas=recipe.betas,
                weight_decay=0.0,
            )
        )
        self.rates.append(recipe.learning_rate)
        self.step, self.seconds, self.steps = 0, 0.0, recipe.steps
        self.log: list[dict[str, float]] = []

    def save(self, key: str) -> None:
        tensors = {f"model.{n}": p.detach().cpu() for n, p in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            for optimizer in self.optimizers:
                for slot, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"optimizer.{slot}.{name}"] = value.detach().cpu()
        artifacts.write_tensors(self.folder / f"{_STATE}-{self.step}.safetensors", tensors, {})
        artifacts.write_json(
            self.folder / f"{_STATE}.json",
            {
                "key": key,
                "step": self.step,
                "steps": self.steps,
                "seconds": self.seconds,
                "log": self.log,
            },
        )
        for old in self.folder.glob(f"{_STATE}-*.safetensors"):
            if old.name != f"{_STATE}-{self.step}.safetensors":
                old.unlink()

    def load(self, key: str) -> bool:
        """Take up where a build with the same key stopped; False where there is none."""
        file = self.folder / f"{_STATE}.json"
        if not file.exists():
            return False
        state = artifacts.read_json(file)
        if state["key"] != key:
            raise InputError(
                f"{str(self.folder)!r} holds a build with another recipe or seed: "
                "choose another folder or pass resume=False."
            )
        self.step, self.steps = state["step"], state["steps"]
        self.seconds, self.log = state["seconds"], state["log"]
        tensors, _ = artifacts.read_tensors(self.folder / f"{_STATE}-{self.step}.safetensors")
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
                for optimizer in self.optimizers:
                    if any(parameter is p for g in optimizer.param_groups for p in g["params"]):
                        optimizer.state[parameter] = {
                            slot: tensors[f"optimizer.{slot}.{name}"].to(
                                "cpu" if slot == "step" else parameter.device
                            )
                            for slot in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
                            if f"optimizer.{slot}.{name}" in tensors
                        }
        return True


def export(
    model: Model,
    tokenizer: PreTrainedTokenizerFast,
    output: Path,
    facts: dict[str, Any],
) -> None:
    """Write the model (bfloat16), the tokenizer and `build.json` to a folder."""
    half = {name: value.detach().to(torch.bfloat16) for name, value in model.state_dict().items()}
    half.pop("lm_head.weight", None)  # tied to the embedding
    output.mkdir(parents=True, exist_ok=True)
    artifacts.write_tensors(output / "model.safetensors", half, {"format": "pt"})
    # Stored in half the space, computed in float32: Transformers follows the configuration.
    config = model.config.to_dict()
    config["dtype"] = "float32"
    config["architectures"] = [type(model).__name__]
    artifacts.write_text(output / "config.json", json.dumps(config, indent=1) + "\n")
    tokenizer.save_pretrained(output)
    artifacts.write_json(output / "build.json", facts)


def _machine(device: torch.device) -> str:
    kind = platform.machine()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads of {kind}"


def train(
    output: Path,
    recipe: Recipe,
    *,
    seed: int,
    minutes: float | None,
    resume: bool,
    device: torch.device,
    stop_after: int | None = None,
) -> tuple[Model, PreTrainedTokenizerFast, dict[str, Any]]:
    """Train the tokenizer and the model, or go on where an earlier call stopped.

    Args:
        output: folder of the build.
        recipe: what to make.
        seed: seed of weights and documents.
        minutes: wall-clock budget; the number of steps is lowered to what fits (measured over the
            first steps), which compresses the schedule. None: the recipe's number of steps.
        resume: take up an interrupted build in the same folder.
        device: where to train.
        stop_after: stop (and keep the state) after so many steps of this call.

    Returns:
        The model in float32, its tokenizer, and facts about the training.
    """
    state_folder = output / _STATE
    key = artifacts.digest(json.dumps(dataclasses.asdict(recipe), sort_keys=True), seed)
    tokenizer_folder = state_folder / "tokenizer"
    if recipe.mixture is not None:
        tokenizer = load_tokenizer(mini.model_path())
    else:
        if not (resume and (tokenizer_folder / "tokenizer.json").exists()):
            tokenizer = train_tokenizer(recipe.tokenizer_texts(seed), recipe.vocabulary)
            tokenizer.save_pretrained(tokenizer_folder)
        tokenizer = load_tokenizer(tokenizer_folder)
    model = _start(recipe, tokenizer, seed).to(device)
    model.train()
    run = _Training(model, recipe, state_folder)
    if not (resume and run.load(key)) and minutes is not None:
        run.steps = min(recipe.steps, _steps_within(minutes, recipe, tokenizer, seed, device))
    last = run.steps if stop_after is None else min(run.steps, run.step + stop_after)
    loader = DataLoader(
        Batches(recipe, tokenizer, seed, run.steps),
        batch_size=None,
        sampler=range(run.step, last),
        num_workers=1 if last - run.step > 50 else 0,
        prefetch_factor=8 if last - run.step > 50 else None,
    )
    # Compiling pays for itself after some hundred steps.
    body = _compiled(model, device) if last - run.step > 500 else model.model
    precision = _precision(device)
    saved = time.monotonic()
    window: list[tuple[float, float]] = []
    with progress.track("training the built-in model", total=last - run.step, unit="steps") as bar:
        for batch in loader:
            began = time.monotonic()
            factor = recipe.schedule(run.step, run.steps)
            for optimizer, rate in zip(run.optimizers, run.rates, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = factor * rate
            with precision:
                loss, right = loss_and_accuracy(model, batch, device, body)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in run.optimizers:
                optimizer.step()
            model.zero_grad(set_to_none=True)
            run.step += 1
            run.seconds += time.monotonic() - began
            window.append((loss.item(), right))
            if run.step % 50 == 0 or run.step == last:
                losses, rights = zip(*window, strict=True)
                entry = {
                    "step": run.step,
                    "loss": round(float(np.mean(losses)), 4),
                    "answers": round(float(np.mean(rights)), 4),
                }
                run.log.append(entry)
                window.clear()
                bar.note(f"loss {entry['loss']:.2f}, answers right {entry['answers']:.0%}")
            bar.advance()
            if time.monotonic() - saved > _SAVE_SECONDS or run.step == last:
                run.save(key)
                saved = time.monotonic()
    facts = {
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "steps": run.step,
        "planned_steps": run.steps,
        "training_seconds": round(run.seconds, 1),
        "machine": _machine(device),
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "log": run.log[:: max(1, len(run.log) // 40)] + run.log[-1:],
    }
    model.eval()
    return model, tokenizer, facts


def _start(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> Model:
    """The weights that training begins with: new ones, or those of ``mini`` cut into experts."""
    if recipe.mixture is None:
        return new_model(recipe, tokenizer, seed)
    dense = LlamaForCausalLM.from_pretrained(mini.model_path(), dtype=torch.float32)
    return upcycled(dense, recipe.mixture, seed)


def _precision(device: torch.device) -> torch.autocast:
    """Bfloat16 where the processor multiplies it; elsewhere it is ten times slower than float32."""
    fast = device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def _steps_within(
    minutes: float,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    device: torch.device,
    probe: int = 4,
) -> int:
    """Number of steps that fit in a budget, from a few steps of each stage on a spare model."""
    model = _start(recipe, tokenizer, seed).to(device)
    precision = _precision(device)
    per_step = 0.0
    for stage in recipe.stages:
        one = dataclasses.replace(recipe, stages=(stage,))
        batches = Batches(one, tokenizer, seed, probe + 1)
        began = 0.0
        for index in range(probe + 1):
            batch = batches[index]
            if index == 1:  # the first step pays for set-up
                began = time.monotonic()
            with precision:
                loss, _ = loss_and_accuracy(model, batch, device)
            loss.backward()
            model.zero_grad(set_to_none=True)
        # A tenth on top for the optimizer's own work.
        per_step += stage.steps / recipe.steps * 1.1 * (time.monotonic() - began) / probe
    return max(len(recipe.stages), int(minutes * 60 / per_step))


def build(
    output: str | os.PathLike[str],
    minutes: float | None = None,
    seed: int = 0,
    resume: bool = True,
    recipe: Recipe | None = None,
    stop_after: int | None = None,
) -> dict[str, Any]:
    """Make the built-in model: tokenizer and training.

    A build that was killed goes on from its last saved state when called again with the same
    arguments. The folder ``training`` inside `output` holds that state and may be deleted after.

    Args:
        output: folder for config.json, model.safetensors, the tokenizer and build.json.
        minutes: wall-clock budget of the training; None trains the recipe's number of steps.
        seed: seed of the weights and of the documents.
        resume: take up an interrupted build in `output`; False starts anew.
        recipe: what to make; None for the recipe of the packaged model.
        stop_after: stop after so many steps, keeping the state for a later call.

    Returns:
        The content of build.json.

    Raises:
        InputError: `output` holds an unfinished build of another recipe or seed, or cannot be
            written, or `minutes` is not positive.
    """
    if minutes is not None and minutes <= 0:
        raise InputError(f"minutes must be positive, not {minutes}.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = Path(output)
    model, tokenizer, facts = train(
        folder,
        Recipe() if recipe is None else recipe,
        seed=seed,
        minutes=minutes,
        resume=resume,
        device=device,
        stop_after=stop_after,
    )
    export(model, tokenizer, folder, facts)
    return facts


def _compiled(model: Model, device: torch.device) -> Any:
    """The body of the model, compiled where a compiler is there (half as fast again on a CPU).

    A mixture runs as it is: how many tokens an expert gets changes from batch to batch.
    """
    if isinstance(model, MixtralForCausalLM):
        return model.model
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        return model.model
    return torch.compile(model.model, dynamic=False)
