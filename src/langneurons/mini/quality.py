"""How good a built-in model is: the table that a build prints and keeps.

Self-contained on purpose: the build measures its model with plain PEFT and a few hooks, not with
the rooms of the package that are later tested on that model.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    LlamaForCausalLM,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)

from langneurons.mini.lexicon import LEXICON
from langneurons.mini.tasks import LANGUAGES, nli, nli_input, qa, qa_prompt, text
from langneurons.mini.world import LABELS

_BLOCK = 128

Model = LlamaForCausalLM | MixtralForCausalLM


def _lora(model: Any, task: TaskType) -> Any:
    """LoRA on all linear layers; stacked experts and routers are none, so a mixture's attention."""
    config = LoraConfig(
        task_type=task, r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear"
    )
    return get_peft_model(model, config)


def _fit(
    model: Any,
    batches: Callable[[int], Iterator[dict[str, torch.Tensor]]],
    steps: int,
    rate: float,
) -> None:
    """AdamW with warm-up and linear decay over the trainable weights."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 20) * max(0.0, 1 - step / steps)
    )
    model.train()
    done, epoch = 0, 0
    while done < steps:
        for batch in batches(epoch):
            with torch.autocast(model.device.type, dtype=torch.bfloat16):
                loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            done += 1
            if done == steps:
                break
        epoch += 1
    model.eval()


def _classifier(model: Model, tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
    torch.manual_seed(seed)
    config = copy.deepcopy(model.config)
    config.num_labels = len(LABELS)
    config.pad_token_id = tokenizer.pad_token_id
    classifier = AutoModelForSequenceClassification.from_config(config)
    classifier.model.load_state_dict(model.model.state_dict())
    return classifier.to(model.device)


def nli_accuracy(
    model: Model,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int = 0,
    examples: int = 3000,
    epochs: int = 1,
    test: int = 600,
    rate: float = 2e-3,
) -> dict[str, dict[str, float]]:
    """Fine-tune a LoRA on English mini-NLI; accuracy in percent in every language.

    Returns:
        Language to ``{"all": ..., "two_holders": ...}``.
    """
    rows = nli("en", examples, seed, "train")
    classifier = _lora(_classifier(model, tokenizer, seed), TaskType.SEQ_CLS)

    def batch_of(part: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        made = tokenizer([nli_input(row) for row in part], padding=True, return_tensors="pt")
        labels = torch.tensor([LABELS.index(row["label"]) for row in part])
        return {
            "input_ids": made.input_ids.to(model.device),
            "attention_mask": made.attention_mask.to(model.device),
            "labels": labels.to(model.device),
        }

    def batches(epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        order = np.random.default_rng([seed, epoch]).permutation(len(rows))
        for at in range(0, len(order), 64):
            yield batch_of([rows[index] for index in order[at : at + 64]])

    _fit(classifier, batches, epochs * len(rows) // 64, rate)
    scores = {}
    for lang in LANGUAGES:
        held = nli(lang, test, seed, "test")
        right: list[bool] = []
        with torch.inference_mode():
            for at in range(0, len(held), 100):
                batch = batch_of(held[at : at + 100])
                guess = classifier(**batch).logits.argmax(-1)
                right += (guess == batch["labels"]).tolist()
        scores[lang] = _split(right, [row["holders"] for row in held])
    return scores


def _split(right: list[Any], holders: list[int]) -> dict[str, float]:
    two = [value for value, count in zip(right, holders, strict=True) if count >= 2]
    return {"all": 100 * float(np.mean(right)), "two_holders": 100 * float(np.mean(two))}


def _entries(dataset: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (part["context"], entry)
        for article in dataset["data"]
        for part in article["paragraphs"]
        for entry in part["qas"]
    ]


def qa_exact(
    model: Model,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int = 0,
    examples: int = 1500,
    test: int = 300,
    rate: float = 1e-3,
) -> dict[str, dict[str, float]]:
    """Fine-tune a LoRA on English mini-QA (0 examples: none); exact match in percent.

    Values are one token or a few, so that exact match and F1 hardly differ.
    """
    tuned: Any = copy.deepcopy(model)
    if examples:
        torch.manual_seed(seed)
        tuned = _lora(tuned, TaskType.CAUSAL_LM)
        items = _entries(qa("en", examples, seed, "train"))

        def batches(epoch: int) -> Iterator[dict[str, torch.Tensor]]:
            order = np.random.default_rng([seed, epoch]).permutation(len(items))
            for at in range(0, len(order), 64):
                part = [items[index] for index in order[at : at + 64]]
                prompts = [qa_prompt(context, entry["question"], "en") for context, entry in part]
                answers = [f" {entry['answers'][0]['text']}\n" for _, entry in part]
                made = tokenizer(
                    [p + a for p, a in zip(prompts, answers, strict=True)],
                    padding=True,
                    return_tensors="pt",
                )
                labels = made.input_ids.masked_fill(made.attention_mask == 0, -100)
                for row, prompt in enumerate(prompts):
                    labels[row, : len(tokenizer(prompt).input_ids)] = -100
                yield {
                    "input_ids": made.input_ids.to(model.device),
                    "attention_mask": made.attention_mask.to(model.device),
                    "labels": labels.to(model.device),
                }

        _fit(tuned, batches, len(items) // 64, rate)
    scores = {}
    for lang in LANGUAGES:
        held = _entries(qa(lang, test, seed, "test"))
        answers = greedy(
            tuned, tokenizer, [qa_prompt(c, entry["question"], lang) for c, entry in held]
        )
        right = [
            a == entry["answers"][0]["text"] for a, (_, entry) in zip(answers, held, strict=True)
        ]
        scores[lang] = _split(right, [entry["holders"] for _, entry in held])
    return scores


def greedy(
    model: Any, tokenizer: PreTrainedTokenizerFast, prompts: list[str], tokens: int = 8
) -> list[str]:
    """What the model writes after each prompt, up to the end of the line."""
    answers: list[str] = []
    for at in range(0, len(prompts), 100):
        made = tokenizer(
            prompts[at : at + 100], padding=True, padding_side="left", return_tensors="pt"
        ).to(model.device)
        with torch.inference_mode():
            written = model.generate(
                **made, max_new_tokens=tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
        for row in written[:, made.input_ids.shape[1] :]:
            answers.append(tokenizer.decode(row, skip_special_tokens=True).split("\n")[0].strip())
    return answers


def blocks(
    tokenizer: PreTrainedTokenizerFast, lang: str, count: int, seed: int, split: str
) -> torch.Tensor:
    """Held-out text as (count, 128) token ids, documents joined by the end-of-text token."""
    ids: list[int] = []
    for made in text(lang, int(count * _BLOCK * 1.6), seed, split):
        ids += [*tokenizer(made).input_ids, tokenizer.eos_token_id]
    return torch.tensor(ids[: count * _BLOCK]).view(count, _BLOCK)


@contextmanager
def _zeroed(model: LlamaForCausalLM, mask: torch.Tensor) -> Iterator[None]:
    """Set the chosen units (layers, width) of the activation function's output to zero."""
    handles = [
        layer.mlp.act_fn.register_forward_hook(
            lambda module, inputs, output, keep=~row: output * keep
        )
        for layer, row in zip(model.model.layers, mask.to(model.device), strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nll(model: Model, ids: torch.Tensor) -> float:
    total, count = 0.0, 0
    with torch.inference_mode():
        for part in ids.split(32):
            part = part.to(model.device)
            logits = model(part).logits[:, :-1].float()
            total += float(
                torch.nn.functional.cross_entropy(
                    logits.reshape(-1, logits.shape[-1]), part[:, 1:].reshape(-1), reduction="sum"
                )
            )
            count += part[:, 1:].numel()
    return total / count


def _positive(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """How often each unit (layers, width) of the activation function's output is above zero."""
    layers = model.model.layers
    counts = torch.zeros(len(layers), model.config.intermediate_size, device=model.device)

    def counter(layer: int) -> Any:
        def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
            counts[layer] += (output > 0).sum((0, 1))

        return hook

    handles = [
        layer.mlp.act_fn.register_forward_hook(counter(index)) for index, layer in enumerate(layers)
    ]
    try:
        with torch.inference_mode():
            for part in ids.split(32):
                model.model(part.to(model.device))
    finally:
        for handle in handles:
            handle.remove()
    return counts


def lape(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    count: int = 96,
    seed: int = 0,
    top: float = 0.05,
    bar: float = 0.95,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Language activation probability entropy (Tang et al. 2024) on the built-in text.

    Returns:
        Language to a (layers, width) bool mask, and facts about the entropies.
    """
    rates = []
    for lang in LANGUAGES:
        ids = blocks(tokenizer, lang, count, seed, "train")
        rates.append(_positive(model, ids).double().cpu() / ids.numel())
    p = torch.stack(rates)  # languages, layers, width
    share = p / p.sum(0).clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum(0)
    entropy[p.amax(0) <= p.quantile(bar)] = torch.inf
    chosen = entropy <= entropy.flatten().kthvalue(max(1, round(top * entropy.numel()))).values
    chosen &= entropy.isfinite()
    limit = p.flatten().quantile(bar)
    masks = {lang: chosen & (p[k] > limit) for k, lang in enumerate(LANGUAGES)}
    finite = entropy[entropy.isfinite()]
    return masks, {"lowest_entropy": float(finite.min()), "median_entropy": float(finite.median())}


def perplexity_change(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    masks: dict[str, torch.Tensor],
    *,
    count: int = 48,
    draws: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Relative change of perplexity in every language when a language's neurons are zeroed.

    Returns:
        "matrix": neurons of (row) on text of (column); "random": per language, the largest change
        of its own text over random draws of the same size per layer; "dominant" and
        "beyond_random": the languages whose own change is the largest of its row, and larger than
        every random draw's.
    """
    held = {lang: blocks(tokenizer, lang, count, seed, "heldout") for lang in LANGUAGES}
    base = {lang: _nll(model, ids) for lang, ids in held.items()}
    matrix: dict[str, dict[str, float]] = {}
    random: dict[str, float] = {}
    generator = torch.Generator().manual_seed(seed)
    for row, mask in masks.items():
        with _zeroed(model, mask):
            matrix[row] = {
                lang: float(np.expm1(_nll(model, held[lang]) - base[lang])) for lang in LANGUAGES
            }
        worst = -np.inf
        for _ in range(draws):
            drawn = torch.zeros_like(mask)
            for layer, units in enumerate(mask.sum(1).tolist()):
                free = torch.nonzero(~mask[layer]).squeeze(1)
                order = torch.randperm(len(free), generator=generator)[:units]
                drawn[layer, free[order]] = True
            with _zeroed(model, drawn):
                worst = max(worst, float(np.expm1(_nll(model, held[row]) - base[row])))
        random[row] = worst
    return {
        "perplexity": {lang: float(np.exp(value)) for lang, value in base.items()},
        "matrix": matrix,
        "random": random,
        "dominant": [r for r, row in matrix.items() if row[r] == max(row.values())],
        "beyond_random": [r for r in matrix if matrix[r][r] > random[r]],
    }


def quality(
    model: Model,
    tokenizer: PreTrainedTokenizerFast,
    seed: int = 0,
    test: int = 400,
    seeds: int = 3,
) -> dict[str, Any]:
    """The whole table: both tasks after fine-tuning on English, the rules, LAPE's neurons.

    A mixture has no such neurons; for it there is "perplexity" alone, on held-out text.

    Accuracies of mini-NLI are means over `seeds` fine-tunings (each with its own test rows);
    "nli_gaps" has, for each, by how many points the other languages stay below English on average.
    """
    from langneurons.mini.baselines import rules

    began = time.monotonic()
    runs = [nli_accuracy(model, tokenizer, seed=seed + k, test=test) for k in range(seeds)]
    others = [lang for lang in LANGUAGES if lang != "en"]
    table: dict[str, Any] = {
        "nli": {
            lang: {
                part: float(np.mean([run[lang][part] for run in runs]))
                for part in ("all", "two_holders")
            }
            for lang in LANGUAGES
        },
        "nli_gaps": [
            run["en"]["all"] - float(np.mean([run[lang]["all"] for lang in others])) for run in runs
        ],
        "qa": qa_exact(model, tokenizer, seed=seed, test=test // 2),
        "rules": {task: rules(task, "en", test, seed) for task in ("mini-nli", "mini-qa")},
    }
    if isinstance(model, MixtralForCausalLM):
        held = {lang: blocks(tokenizer, lang, 48, seed, "heldout") for lang in LANGUAGES}
        table["perplexity"] = {lang: float(np.exp(_nll(model, ids))) for lang, ids in held.items()}
    else:
        masks, entropies = lape(model, tokenizer)
        table["neurons"] = {lang: int(mask.sum()) for lang, mask in masks.items()}
        table["entropy"] = entropies
        table["perplexity_change"] = perplexity_change(model, tokenizer, masks)
    table["seconds"] = round(time.monotonic() - began, 1)
    return table


def lines(table: dict[str, Any]) -> list[str]:
    """The table as lines of text, for the terminal."""
    change = table.get("perplexity_change")
    last = "neurons   own change   random <=" if change else "perplexity"
    out = [f"language   NLI (two holders)   QA (two holders)   {last}"]
    for lang in LANGUAGES:
        a, b = table["nli"][lang], table["qa"][lang]
        line = (
            f"{lang:<8} {a['all']:6.1f} ({a['two_holders']:5.1f})   "
            f"{b['all']:12.1f} ({b['two_holders']:5.1f}) "
        )
        if change:
            line += (
                f"{table['neurons'][lang]:10d} "
                f"{change['matrix'][lang][lang]:11.1%} {change['random'][lang]:13.1%}"
            )
        else:
            line += f"{table['perplexity'][lang]:13.2f}"
        out.append(line)
    for task, rules in table["rules"].items():
        for name, score in rules.items():
            out.append(f"{task} {name}: {score['all']:.1f} ({score['two_holders']:.1f})")
    gaps = ", ".join(f"{gap:.1f}" for gap in table["nli_gaps"])
    out.append(f"mini-NLI, other languages below English by (one number a fine-tuning): {gaps}")
    if not change:
        return out
    out.append(
        f"rows whose own language suffers most: {len(change['dominant'])} of {len(LEXICON)}; "
        f"beyond ten random draws: {len(change['beyond_random'])}"
    )
    return out
