"""``langneurons steer``: one's own model and prompts, continued with and without steering."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langneurons import defaults
from langneurons.cli import inputs
from langneurons.cli.force import candidates, read_prompts
from langneurons.cli.options import (
    AsJson,
    Block,
    Device,
    DryRun,
    Dtype,
    Field,
    Load,
    Table,
    Text,
    Trust,
    check_table,
    language_list,
    print_json,
    show_plan,
    write_result,
)
from langneurons.errors import InputError, unknown

if TYPE_CHECKING:
    from langneurons.models import LanguageModel


def add(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command(
        epilog="Examples: langneurons steer mini --to hi --prompts prompts.txt | "
        "langneurons steer gemma.gguf --from en --to es --prompts prompts.txt -t en=en.txt "
        "-t es=es.txt --layers 9 --strength 1.5"
    )(steer)


def steer(
    model: Annotated[
        str, typer.Argument(help="mini, a Hub id, a folder, FILE.gguf or REPO:FILE.gguf.")
    ],
    to: Annotated[str, typer.Option(help="Language that answers are to be in.")],
    prompts: Annotated[
        str, typer.Option(help="File with a prompt a line; - reads standard input.")
    ],
    source: Annotated[
        str, typer.Option("--from", help="Language of the prompts, to lead away from.")
    ] = "en",
    method: Annotated[
        str, typer.Option(help="How the direction is found: difference, pca, lda or probe.")
    ] = "difference",
    how: Annotated[
        Literal["add", "keep_norm"],
        typer.Option(help="keep_norm: the activation keeps its length."),
    ] = "add",
    strength: Annotated[float, typer.Option(help="Times the direction that is added.")] = 1.0,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers, with commas, or all; default: the one at half the depth."),
    ] = None,
    text: Text = None,
    field: Field = None,
    statistics: Annotated[
        Path | None,
        typer.Option(help="Statistics of resid in both languages, in place of --text."),
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of text a language that the direction is found on.")
    ] = 10_000,
    block: Block = defaults.BLOCK,
    new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens written after each prompt.")
    ] = defaults.NEW_TOKENS,
    chat: Annotated[
        Literal["auto", "never"],
        typer.Option(help="auto: prompts as a user's turn, of a model with a chat template."),
    ] = "auto",
    output: Table = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    load: Load = None,
    trust_remote_code: Trust = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Continue prompts untouched, and steered along a direction towards another language.

    The direction leads from the prompts' language to the other in the residual stream; it is found
    on text of both. Continuations are greedy.
    """
    import pandas as pd

    from langneurons.identification.directions import METHODS

    check_table(output)
    if method not in METHODS:
        raise unknown("method for directions", method, METHODS)
    if to == source:
        raise InputError(f"--to and --from both say {to!r}: give two languages.")
    written = read_prompts([], prompts)
    chosen = _layers(layers)
    stats = inputs.read_statistics(statistics) if statistics else None
    texts = {}
    if stats is None:
        texts = inputs.texts_of(model, text, f"{source},{to}", field, tokens=tokens)
    _both(stats.languages if stats else texts, (source, to))
    among = candidates([source, to], None, None)
    if dry_run:
        inputs.check_plan(model, trust_remote_code, block if texts else None, texts, load)
        where = "half the depth" if chosen is None else layers
        show_plan(
            {
                "model": model,
                "prompts": len(written),
                "direction": f"{method}, {source} to {to}",
                "found on": str(statistics) if stats else f"{tokens:,} tokens a language",
                "how": f"{how}, strength {strength:g}, layers: {where}",
                "tokens written": 2 * len(written) * new_tokens,
                "language detected among": among or "(not detected)",
            },
            as_json,
        )
        return
    from langneurons.evaluation.forcing import detect
    from langneurons.evaluation.steering import written as continued
    from langneurons.identification import find_directions
    from langneurons.intervention import Steering, intervene

    lm = inputs.load_model(model, dtype, device, trust_remote_code, load)
    places = _chosen(chosen, lm)
    if stats is None:
        from langneurons.statistics import collect

        stats = collect(lm, texts, site="resid", tokens=tokens, block=block)
    direction = find_directions(stats, method, languages=[to], source=source)[to]
    steering = Steering(direction, how, strength, places)
    steering.check(lm)
    tables = []
    for name, done in (("untouched", None), (f"steered to {to}", steering)):
        answers = continued(
            lm, written, partial(intervene, lm, done), max_new_tokens=new_tokens, chat=chat
        )
        found = pd.DataFrame({"prompt": written, "steering": name, "continuation": answers})
        tables.append(found.assign(language_detected=detect(answers, among)) if among else found)
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
            typer.echo(f"  {row['steering']}{seen}: {' '.join(row['continuation'].split())}")
    if output:
        typer.echo(f"Table: {output}")


def _both(there: Any, wanted: tuple[str, str]) -> None:
    for lang in wanted:
        if lang not in there:
            raise InputError(
                f"no text of {lang!r}, between which the direction leads: add --text {lang}=PATH, "
                "or give statistics of both languages."
            )


def _layers(words: str | None) -> list[int] | Literal["all"] | None:
    if words is None or words == "all":
        return words  # type: ignore[return-value]
    try:
        return [int(word) for word in language_list(words)]
    except ValueError as error:
        raise InputError(f"--layers {words} must be numbers with commas, or all.") from error


def _chosen(chosen: list[int] | Literal["all"] | None, lm: LanguageModel) -> tuple[int, ...] | None:
    from langneurons.models.layers import chosen_layers

    if chosen == "all":
        return None
    return tuple(chosen_layers([lm.layers // 2] if chosen is None else chosen, lm.layers))
