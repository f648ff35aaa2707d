"""``langneurons force``: make the model write in another language, on one's own prompts."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langneurons import defaults
from langneurons.cli import inputs
from langneurons.cli.options import (
    AsJson,
    Device,
    DryRun,
    Dtype,
    Languages,
    Load,
    Model,
    Table,
    Trust,
    check_table,
    language_list,
    print_json,
    say,
    show_plan,
    write_result,
)
from langneurons.errors import InputError, unknown

if TYPE_CHECKING:
    from langneurons.identification import NeuronSet
    from langneurons.intervention import Intervention


def add(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(
        epilog="Example: langneurons force 'The capital of France is' -n lape.json "
        "--off en --on es --value P90 --statistics stats -m gemma.gguf"
    )(force)


def force(
    prompts: Annotated[
        list[str] | None, typer.Argument(help="Beginnings of texts, each in quotes.")
    ] = None,
    neurons: Annotated[
        Path | None, typer.Option("--neurons", "-n", help="Neuron set: .json or a published file.")
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="File with a prompt a line; - reads standard input.")
    ] = None,
    off: Annotated[str | None, typer.Option(help="Language whose units are set to zero.")] = None,
    on: Annotated[
        str | None, typer.Option(help="Language over whose units --value is written.")
    ] = None,
    value: Annotated[
        str, typer.Option(help="Written over the units of --on: P90, mean, a number ...")
    ] = "P90",
    statistics: Annotated[Path | None, typer.Option(help="Statistics, for the value.")] = None,
    model: Model = "mini",
    languages: Languages = None,
    new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens written after each prompt.")
    ] = defaults.NEW_TOKENS,
    output: Table = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    load: Load = None,
    trust_remote_code: Trust = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Continue prompts untouched, then with a language's neurons off and another's on.

    Continuations are greedy. --languages says which languages the detector may choose from, by
    default those of the neuron set.
    """
    import pandas as pd

    check_table(output)
    if neurons is None:
        raise InputError("force needs a neuron set: give one, such as --neurons lape.json.")
    if off is None and on is None:
        raise InputError("force changes nothing: give --off LANG, --on LANG or both.")
    written = read_prompts(prompts or [], file)
    held = inputs.NeuronFile(neurons, language_list(languages))
    for lang in (off, on):
        if lang is not None and (lang not in held.found or not len(held.found[lang])):
            raise unknown("language with units", lang, [x for x in held.found if held.found[x]])
    stats = inputs.read_statistics(statistics) if statistics else None
    from langneurons.intervention import Intervention

    put = None if on is None else Intervention.of(held.found[on], value, stats, on)
    among = candidates(language_list(languages) or list(held.found), off, on)
    if dry_run:
        inputs.check_plan(model, trust_remote_code, None, {}, load)
        show_plan(
            {
                "model": model,
                "prompts": len(written),
                "off": off or "none",
                "on": f"{on} ({value})" if on else "none",
                "tokens written": 2 * len(written) * new_tokens,
                "language detected among": among or "(not detected)",
            },
            as_json,
        )
        return
    lm = inputs.load_model(model, dtype, device, trust_remote_code, load)
    changes = _interventions(held.on(lm), off, on, put)
    from langneurons.evaluation import force as continued

    tables = [
        continued(lm, written, among, done, max_new_tokens=new_tokens).assign(changed=name)
        for name, done in (("nothing", None), (_label(off, on, value), changes))
    ]
    table = pd.concat(tables, ignore_index=True)
    if output:
        write_result(output, table)
    if as_json:
        print_json(table.to_dict("records"))
        return
    for number, prompt in enumerate(written):
        typer.echo(f"> {prompt}")
        for part in tables:
            row: dict[str, Any] = part.iloc[number].to_dict()
            seen = f" [{row['language_detected']}]" if among else ""
            text = " ".join(row["continuation"].split())
            typer.echo(f"  {row['changed']}{seen}: {text}")
    if output:
        typer.echo(f"Table: {output}")


def _label(off: str | None, on: str | None, value: str) -> str:
    parts = [f"{off} off" if off else "", f"{on} on at {value}" if on else ""]
    return ", ".join(part for part in parts if part)


def read_prompts(given: list[str], file: str | None) -> list[str]:
    """Prompts of the command line and of a file, a line each.

    Raises:
        InputError: If there is none.
    """
    from langneurons.data import read_texts

    lines = list(given)
    if file == "-":
        lines += [line.rstrip("\n") for line in sys.stdin if line.strip()]
    elif file is not None:
        lines += read_texts(file)
    if not lines:
        raise InputError("no prompt: give some in quotes, or --file PROMPTS.txt.")
    return lines


def candidates(named: list[str], off: str | None, on: str | None) -> list[str]:
    """Languages to detect; none where the detector is not installed."""
    if importlib.util.find_spec("lingua") is None:
        say("Languages are not named: that needs pip install 'langneurons[language-id]'.")
        return []
    return list(dict.fromkeys([*named, *(lang for lang in (off, on) if lang)]))


def _interventions(
    found: NeuronSet, off: str | None, on: str | None, put: Intervention | None
) -> list[Intervention]:
    from langneurons.intervention import Intervention

    changes = []
    if off is not None:
        changes.append(Intervention(units=found[off], value=0.0, site=found.site))
    if on is not None and put is not None:
        changes.append(replace(put, units=found[on]))
    return changes
