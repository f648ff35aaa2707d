"""Commands that do one step: collect, perplexity, finetune, evaluate."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langneurons import defaults
from langneurons.cli import inputs
from langneurons.cli.options import (
    AsJson,
    Block,
    Device,
    DryRun,
    Dtype,
    Field,
    Languages,
    Load,
    Matched,
    Model,
    Random,
    Seed,
    Table,
    Template,
    Text,
    Trust,
    check_table,
    language_list,
    not_of_a_study,
    parameters,
    print_json,
    print_table,
    say,
    show_plan,
    write_result,
)
from langneurons.errors import InputError

if TYPE_CHECKING:
    from langneurons.data.tasks import Task
    from langneurons.intervention import Intervention
    from langneurons.models import LanguageModel

Parameter = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="A parameter of the method.", metavar="KEY=VALUE"),
]
Neurons = Annotated[
    Path | None, typer.Option("--neurons", "-n", help="Neuron set: .json or a published file.")
]


def add(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(
        epilog="Example: langneurons collect -m gemma.gguf -t en=en.txt -t hi=hi.txt -o stats"
    )(collect)
    app.command(
        epilog="Example: langneurons perplexity -n lape.json -t en=en.txt -t hi=hi.txt "
        "-m gemma.gguf"
    )(perplexity)
    app.command(
        epilog="Example: langneurons finetune mini-nli -l en -n lape.json --units hi -o adapter"
    )(finetune)
    app.command(
        epilog="Example: langneurons evaluate mini-nli --adapter adapter -l en,hi,ur "
        "-n lape.json --value P90 --statistics stats"
    )(evaluate)


def collect(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the statistics.")],
    model: Model = "mini",
    text: Text = None,
    field: Field = None,
    languages: Languages = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens per language, at most; default: all.")
    ] = None,
    site: Annotated[str, typer.Option(help="Where units live.")] = "mlp.act",
    block: Block = defaults.BLOCK,
    rows: Annotated[
        int, typer.Option(min=0, help="Token rows kept for quantiles.")
    ] = defaults.ROWS,
    generated: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Take each document as a prompt, let the model write at most so many tokens "
            "after it, and count these alone.",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, help="Of --generated: 0 writes the most probable tokens.")
    ] = 0.0,
    dtype: Dtype = "auto",
    device: Device = "auto",
    load: Load = None,
    trust_remote_code: Trust = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Collect what every unit does in every language; one pass over the text."""
    from langneurons import statistics

    options = statistics.Options(
        site=site, tokens=tokens, block=None if generated else block, rows=rows, seed=seed,
        generated=generated, temperature=temperature,
    )  # fmt: skip

    not_of_a_study(output)
    texts = inputs.texts_of(model, text, languages, field, tokens=tokens)
    if dry_run:
        inputs.check_plan(model, trust_remote_code, block, texts, load)
    lm = inputs.load_model(model, dtype, device, trust_remote_code, load)
    if dry_run:
        expected = statistics.estimate(lm, texts, options, output=output)
        if as_json:
            print_json(dataclasses.asdict(expected))
        else:
            typer.echo(str(expected))
        return
    say(f"Collecting {site} of {lm.name} in {' '.join(texts)}; results in {output}/")
    stats = statistics.collect(lm, texts, options, output=output)
    if as_json:
        print_json({"output": str(output), "site": stats.site, "tokens": stats.tokens})
    else:
        counted = ", ".join(f"{lang} {count:,}" for lang, count in stats.tokens.items())
        typer.echo(f"Statistics: {output} (tokens: {counted})")


def perplexity(
    neurons: Annotated[Path, typer.Option("--neurons", "-n", help="Neuron set.")],
    model: Model = "mini",
    text: Text = None,
    field: Field = None,
    languages: Languages = None,
    value: Annotated[str, typer.Option(help="zero, -1, x0.5, s0.5, mean, P90, mean@en.")] = "zero",
    statistics: Annotated[
        Path | None, typer.Option(help="Statistics, for values and rate-matched controls.")
    ] = None,
    random: Random = defaults.RANDOM,
    matched: Matched = None,
    equal_load: Annotated[int, typer.Option(min=0, help="Draws of experts of the same load.")] = 0,
    tokens: Annotated[
        int, typer.Option(min=1, help="Tokens per language, at most.")
    ] = defaults.HELD_OUT_TOKENS,
    block: Block = defaults.BLOCK,
    output: Table = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    load: Load = None,
    trust_remote_code: Trust = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Perplexity of every language when one language's neurons are overwritten."""
    import pandas as pd

    from langneurons.data import make_blocks
    from langneurons.evaluation import perplexity_change

    check_table(output)
    not_of_a_study(output)
    file = inputs.NeuronFile(neurons, language_list(languages))
    stats = inputs.read_statistics(statistics) if statistics else None
    rows = [lang for lang in file.found if len(file.found[lang])]
    values = {lang: inputs.value_of(value, stats, lang) for lang in rows}
    texts = inputs.texts_of(
        model, text, languages, field, otherwise=file.found, tokens=2 * tokens, split="heldout"
    )
    controls = {"random": random, "matched": inputs.draws(matched, stats), "load": equal_load}
    if dry_run:
        inputs.check_plan(model, trust_remote_code, block, texts, load)
        passes = len(texts) + len(rows) * (len(texts) + sum(controls.values()))
        show_plan(
            {
                "model": model,
                "neurons of": rows,
                "text of": list(texts),
                "controls": [f"{count} {kind}" for kind, count in controls.items()],
                "passes over a text": passes,
                "tokens at most": passes * tokens,
                **({"output": str(output)} if output else {}),
            },
            as_json,
        )
        return
    lm = inputs.load_model(model, dtype, device, trust_remote_code, load)
    found = file.on(lm)
    blocks = {
        lang: make_blocks(documents, lm.tokenizer, block=block, tokens=tokens)
        for lang, documents in texts.items()
    }
    baseline: dict[str, Any] = {}
    tables = [
        perplexity_change(
            lm,
            found.select([lang]),
            blocks,
            value=values[lang][0],
            mode=values[lang][1],
            controls=controls,
            stats=stats,
            baseline=baseline,
            seed=seed,
        ).table
        for lang in rows
    ]
    table = pd.concat(tables, ignore_index=True)
    if output:
        write_result(output, table)
    if as_json:
        print_json(table.to_dict("records"))
        return
    own = table[table["kind"] == "own"].pivot(index="row", columns="column", values="ratio")
    print_table(own.reset_index(), title=f"Perplexity, ratio to untouched, {value} over the row's")
    if output:
        typer.echo(f"Table: {output}")


def finetune(
    task: Annotated[str, typer.Argument(help="mini-nli, mini-qa, xnli:DIR, xquad:DIR ...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the adapter.")],
    model: Model = "mini",
    languages: Annotated[
        str, typer.Option("--languages", "-l", help="Language of the training examples.")
    ] = "en",
    neurons: Neurons = None,
    units: Annotated[
        str | None,
        typer.Option(help="Which units learn: none, all, or languages of --neurons (hi,en)."),
    ] = None,
    attention: Annotated[
        bool, typer.Option(help="Plain LoRA on the attention projections.")
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Training examples, at most.")] = None,
    template: Template = None,
    param: Parameter = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    load: Load = None,
    trust_remote_code: Trust = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Train an adapter in which only the chosen units of the MLP learn."""
    from langneurons import finetuning
    from langneurons.finetuning.sharding import sharding_asked_for

    not_of_a_study(output)
    settings = parameters(param)
    recipe = finetuning.get_recipe(None, **settings)
    named = language_list(languages)
    if len(named) != 1:
        raise InputError(f"--languages {languages!r} must name one language: training has one.")
    file = _file_of_units(neurons, units)
    made = _made(task, template)
    if dry_run:
        inputs.check_plan(model, trust_remote_code, None, {}, load)
        counted = "" if file is None else f" ({len(inputs.units_of(file.found, units or '')):,})"
        examples = made.examples(named[0], recipe.split, limit or recipe.limit, seed)
        show_plan(
            {
                "model": model,
                "task": task,
                "language": named[0],
                "examples": len(examples),
                "epochs": recipe.epochs,
                "units that learn": f"{units or 'none'}{counted}",
                "output": str(output),
            },
            as_json,
        )
        return
    # Accelerators then hold shares of the weights alone.
    place = "cpu" if sharding_asked_for() else device
    lm = inputs.load_model(model, dtype, place, trust_remote_code, load)
    trained = finetuning.finetune(
        lm,
        made,
        lang=named[0],
        neurons=units or "none" if file is None else inputs.units_of(file.on(lm), units or ""),
        attention=attention,
        limit=limit,
        seed=seed,
        output=output,
        **settings,
    )
    if as_json:
        print_json({"output": str(trained.path), "trainable": trained.trainable})
    else:
        typer.echo(f"Adapter: {trained.path} ({trained.trainable:,} trainable parameters)")


def _made(task: str, template: str | None) -> Task:
    """The task, with another input text where one is given."""
    from langneurons.data.tasks import get_task

    return get_task(task, **({} if template is None else {"template": template}))


def _file_of_units(neurons: Path | None, units: str | None) -> inputs.NeuronFile | None:
    """The set whose languages ``--units`` names; None where it names no language."""
    if units in (None, "none", "all") and neurons is None:
        return None
    if neurons is None or units is None:
        raise InputError("--units LANG needs --neurons FILE, and --neurons needs --units LANG.")
    file = inputs.NeuronFile(neurons)
    inputs.units_of(file.found, units)
    return file


def evaluate(
    task: Annotated[str, typer.Argument(help="mini-nli, mini-qa, xnli:DIR, xquad:DIR ...")],
    model: Model = "mini",
    languages: Languages = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter.")] = None,
    neurons: Neurons = None,
    value: Annotated[
        str | None, typer.Option(help="Overwrite each language's neurons: zero, mean, P90 ...")
    ] = None,
    statistics: Annotated[Path | None, typer.Option(help="Statistics, for values.")] = None,
    split: Annotated[str, typer.Option(help="Split of the task.")] = "test",
    template: Template = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Examples per language, at most.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the per-example rows.")
    ] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    load: Load = None,
    trust_remote_code: Trust = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Score a task per language, with intervals; under an adapter or an overwrite if given."""
    import pandas as pd

    from langneurons.evaluation.runner import HARNESS
    from langneurons.intervention import Intervention

    not_of_a_study(output)
    if (value is None) != (neurons is None):
        raise InputError("--value and --neurons go together: give both or neither.")
    file = inputs.NeuronFile(neurons, language_list(languages)) if neurons else None
    stats = inputs.read_statistics(statistics) if statistics else None
    made = None
    if task.startswith(HARNESS):
        from langneurons.evaluation.harness import find_task

        if template is not None:
            raise InputError("a task of the harness brings its own prompt: leave out --template.")
        find_task(task.removeprefix(HARNESS))
        wanted = language_list(languages) or ["en"]
    else:
        made = _made(task, template)
        wanted = language_list(languages) or list(made.languages)
    values = {}
    if file is not None and value is not None:
        for lang in wanted:
            if lang not in file.found or not len(file.found[lang]):
                raise InputError(
                    f"the neuron set has no unit for {lang}: leave it out of --languages."
                )
            values[lang] = Intervention.of(file.found[lang], value, stats, lang)
    if dry_run:
        inputs.check_plan(model, trust_remote_code, None, {}, load)
        counts = (
            {}
            if made is None
            else {lang: len(made.examples(lang, split, limit, seed)) for lang in wanted}
        )
        show_plan(
            {
                "model": model,
                "task": task,
                "languages": wanted,
                "examples": [f"{lang} {count:,}" for lang, count in counts.items()]
                or "those of the harness",
                "adapter": str(adapter or "none"),
                "overwritten with": value or "nothing",
                **({"output": str(output)} if output else {}),
            },
            as_json,
        )
        return
    lm = inputs.load_model(model, dtype, device, trust_remote_code, load)
    rows = _scored(lm, made or task, wanted, file, values, adapter=adapter, split=split,
                   limit=limit, seed=seed, output=output)  # fmt: skip
    if as_json:
        print_json(rows)
    else:
        print_table(pd.DataFrame(rows), title=f"{task}, 95 % intervals")
        if output:
            typer.echo(f"Scores: {output}")


def _scored(
    lm: LanguageModel,
    task: str | Task,
    languages: list[str],
    file: inputs.NeuronFile | None,
    values: dict[str, Intervention],
    *,
    output: Path | None,
    **options: Any,
) -> list[dict[str, Any]]:
    """One row a language and metric."""
    from langneurons.evaluation import evaluate as score

    found = None if file is None else file.on(lm)
    rows = []
    for lang in languages:
        intervention = None
        if found is not None:
            intervention = dataclasses.replace(values[lang], units=found[lang])
        scores = score(
            lm,
            task,
            lang,
            intervention=intervention,
            output=output / f"{lang}.parquet" if output else None,
            **options,
        )
        for metric in scores.metrics:
            low, high = scores.interval(metric)
            rows.append(
                {
                    "language": lang,
                    "metric": metric,
                    "value": scores.value(metric),
                    "low": low,
                    "high": high,
                    "n": scores.n,
                }
            )
    return rows
