"""Commands on whole studies: run, report, explain, presets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langneurons.cli.options import (
    AsJson,
    DryRun,
    Field,
    Languages,
    Output,
    Text,
    Trust,
    debugging,
    is_pattern,
    language_list,
    print_json,
    print_table,
    say,
    text_sources,
)
from langneurons.defaults import BUILT_IN
from langneurons.errors import InputError

if TYPE_CHECKING:
    from langneurons.stages.runner import Outcome
    from langneurons.study import Result, Study

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Change one key, dots for nested ones.", metavar="KEY=VALUE"),
]


KeepCode = Annotated[
    bool,
    typer.Option("--keep-code", help="Let results of earlier code stand; the report will say so."),
]


Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Read every file anew, also where size and times say that it has not changed.",
    ),
]


def add(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog=_RUN)(run)
    app.command(epilog="Example: langneurons report runs/mini")(report)
    app.command(epilog="Example: langneurons explore runs/mini")(explore)
    app.command(epilog="Example: langneurons explain runs/mini neurons/lape")(explain)
    app.command(name="presets", epilog="Example: langneurons presets --json")(list_presets)


_RUN = """Examples:

langneurons run                                   the built-in world, whole study

langneurons run mini -s budget=small -o runs/small

langneurons run --model gemma.gguf -t en=en.txt -t es=es.txt -t hi=hi.txt -o runs/gemma

langneurons run my-study.yaml --dry-run"""


def run(
    study: Annotated[
        str | None, typer.Argument(help="A preset's name or a YAML file.", metavar="STUDY")
    ] = None,
    overrides: Overrides = None,
    output: Output = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Another model: a Hub id, a folder, a .gguf file."),
    ] = None,
    text: Text = None,
    text_field: Field = None,
    languages: Languages = None,
    dtype: Annotated[str | None, typer.Option(help="As the study's key, in its place.")] = None,
    device: Annotated[str | None, typer.Option(help="As the study's key, in its place.")] = None,
    seed: Annotated[int | None, typer.Option(help="As the study's key, in its place.")] = None,
    dry_run: DryRun = False,
    trust_remote_code: Trust = False,
    keep_code: KeepCode = False,
    verify: Verify = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with one; the same command continues after a stop."""
    from langneurons.study import Study

    changes = _changes(model, text, languages, named=study is not None)
    preset = study or ("text" if changes else "mini")
    keys = {"field": text_field, "dtype": dtype, "device": device, "seed": seed}
    changes |= {key: value for key, value in keys.items() if value is not None}
    studies = Study.series(preset, overrides or (), changes)
    results = []
    for member, made in studies.items():
        out = output / member if output else Path("runs") / made.config.name
        if dry_run:
            _print_plan(made, out, as_json, keep_code, trust_remote_code)
            continue
        _announce(made, out)
        results.append(
            made.run(
                out,
                report=_tell,
                trust_remote_code=trust_remote_code,
                keep_code=keep_code,
                verify=verify,
            )
        )
        if as_json:
            print_json(_summary(results[-1]))
        else:
            _finish(results[-1])
    if any(result.failed for result in results):
        raise typer.Exit(1)


def _changes(
    model: str | None, text: list[str] | None, languages: str | None, *, named: bool
) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if model:
        changes["model"] = model
        if not text and model not in BUILT_IN and not languages:
            raise InputError(
                f"--model {model} needs text: --text en=PATH --text hi=PATH (two languages or "
                "more), or a YAML study."
            )
    if named and text and not languages and all(is_pattern(item) for item in text):
        # The study says which languages; it fills them in itself.
        return {**changes, "text": list(text)}
    sources = text_sources(text, languages)
    if sources:
        changes["text"] = sources
        changes["languages"] = language_list(languages) or list(sources)
    elif languages:
        changes["languages"] = language_list(languages)
    return changes


def _announce(study: Study, out: Path) -> None:
    config = study.config
    say(
        f"Study {config.name!r}: model {config.model}, {len(config.languages)} languages "
        f"({' '.join(config.languages)}), {len(config.neurons)} neuron set(s), "
        f"{len(config.tasks)} task(s), budget {config.budget}; results in {out}/"
    )


def _tell(outcome: Outcome) -> None:
    if outcome.status == "failed":
        say(f"failed: {outcome.name}: {outcome.reason}")
        if debugging():
            typer.echo(outcome.trace, err=True)
    elif outcome.status == "done" and not outcome.name.startswith("scores/"):
        say(f"done: {outcome.name} ({outcome.seconds:.1f} s)")


def _finish(result: Result) -> None:
    done = sum(outcome.status == "done" for outcome in result.outcomes)
    kept = sum(outcome.status == "kept" for outcome in result.outcomes)
    say(f"{done} stages done, {kept} kept from before, {result.seconds:.0f} s")
    # Said again at the end, where it is seen, and also under --quiet: a failure is a result.
    for outcome in result.failed:
        typer.echo(f"failed: {outcome.name}: {outcome.reason}", err=True)
    skipped = [outcome for outcome in result.outcomes if outcome.status == "skipped"]
    if skipped:
        say(f"{len(skipped)} stages skipped because of them, such as {skipped[0].name}")
    if result.report is not None:
        typer.echo(f"Report: {result.report}")


def _summary(result: Result) -> dict[str, Any]:
    return {
        "output": str(result.out),
        "report": str(result.report) if result.report else None,
        "seconds": round(result.seconds, 1),
        "failed": [{"stage": item.name, "reason": item.reason} for item in result.failed],
        "stages": {
            status: sum(item.status == status for item in result.outcomes)
            for status in ("done", "kept", "failed", "skipped")
        },
    }


def _print_plan(study: Study, out: Path, as_json: bool, keep_code: bool, trusted: bool) -> None:
    import pandas as pd

    from langneurons.progress import human_bytes, human_time
    from langneurons.stages import records
    from langneurons.study import beside
    from langneurons.study.expectation import expect, measured_flops

    # Text of the Hub is not streamed just to find that there is nothing to keep.
    laid = study.plan(fetch=(out / ".stages").is_dir(), out=out, keep_code=keep_code)
    study.check_data(out, trust_remote_code=trusted)
    reasons = {stage.name: records.why(out, laid, stage) for stage in laid.stages}
    todo = [stage for stage in laid.stages if reasons[stage.name]]
    kept = [record for stage in laid.stages if (record := records.read(out, stage))]
    flops = measured_flops(study.resolved.dtype) if todo else None
    expected = expect(study.resolved, laid, todo, flops=flops, records=kept)
    rows = [
        {
            "stage": stage.name,
            "state": "to do" if reasons[stage.name] else "kept",
            "reason": reasons[stage.name] or "",
            "k tokens": round(stage.cost) if reasons[stage.name] else 0,
            "seconds": round(expected.seconds.get(stage.name, 0.0), 1),
        }
        for stage in laid.stages
    ]
    total = {
        "cells": sum(stage.kind == "scores" for stage in laid.stages),
        "stages": len(rows),
        "kept": len(rows) - len(todo),
        "tokens": round(expected.tokens),
        "seconds": round(sum(expected.seconds.values())),
        "memory": expected.memory and round(expected.memory),
        "disk": expected.disk and round(expected.disk),
        "rate": expected.source,
    }
    if as_json:
        print_json({"output": str(out), "expected": total, "stages": rows})
        return
    table = pd.DataFrame(rows)
    groups = table.assign(group=table["stage"].str.split("/").str[:2].str.join("/"))
    small = groups.groupby("group", sort=False).agg(
        stages=("stage", "size"),
        todo=("state", lambda state: int((state == "to do").sum())),
        reason=("reason", "first"),
        ktokens=("k tokens", "sum"),
        time=("seconds", "sum"),
    )
    small["time"] = small["time"].map(human_time)
    small = small.reset_index().rename(columns={"todo": "to do", "ktokens": "k tokens"})
    print_table(small, title=f"Plan of {study.config.name!r} in {out}/")
    say(
        f"{len(todo)} of {len(rows)} stages to do ({total['cells']} cells), "
        f"{expected.tokens / 1000:,.0f} k tokens"
    )
    if expected.seconds:
        say(f"Expected time {human_time(sum(expected.seconds.values()))} ({expected.source})")
    if expected.memory is not None and expected.disk is not None:
        processes = beside.count(study.resolved, laid, reasons)[0]
        of = f" in each of {processes} processes" if processes > 1 else ""
        memory, disk = human_bytes(expected.memory), human_bytes(expected.disk)
        say(f"Expected memory {memory}{of}, disk {disk}")
    else:
        say("The model is not at hand: give its `size` to see time, memory and disk")


def _check_run(directory: Path) -> None:
    if not (directory / "run.json").is_file():
        raise InputError(
            f"{str(directory)!r} is no run directory (it has no run.json): give the folder that "
            "`langneurons run -o DIR` wrote."
        )


def report(
    directory: Annotated[Path, typer.Argument(help="A run directory.")],
    as_json: AsJson = False,
) -> None:
    """Write the report of a run directory again."""
    from langneurons.study.report import report as write

    _check_run(directory)
    page = write(directory)
    if as_json:
        print_json({"report": str(page)})
    else:
        typer.echo(f"Report: {page}")


def explore(
    directory: Annotated[Path, typer.Argument(help="A run directory.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser", help="Open it in the browser.")] = False,
) -> None:
    """Serve a run's report on this machine (127.0.0.1 alone), with every unit in the explorer."""
    from langneurons.reporting.explorer.serve import server
    from langneurons.study.report import report as write

    _check_run(directory)
    folder = directory / "report"
    if not (folder / "index.html").is_file():
        write(directory)
    with server(folder, port) as served:
        address = f"http://{served.server_address[0]!s}:{served.server_address[1]}/"
        typer.echo(f"Report: {address}   (Ctrl-C stops)")
        if not (directory / "passages").is_dir():
            say("this run holds nothing for the explorer: add `-s passages.units=500` to its run.")
        if browser:
            import webbrowser

            webbrowser.open(address)
        try:
            served.serve_forever()
        except KeyboardInterrupt:
            say("stopped.")


def explain(
    run: Annotated[str, typer.Argument(help="A run directory; or a preset or YAML file.")],
    stage: Annotated[
        str, typer.Argument(help="A stage, or the first part of its name; default: all.")
    ] = "",
    overrides: Overrides = None,
    study: Annotated[str | None, typer.Option("--study", hidden=True)] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", hidden=True)] = None,
    keep_code: KeepCode = False,
    verify: Verify = False,
) -> None:
    """Say why a stage would run again, or that its result stands; and what is set aside."""
    from langneurons.stages import records
    from langneurons.stages.digests import Digests
    from langneurons.study import Study, presets

    stands = Path(run).exists() or run in presets()
    old = study is not None or output is not None or not (stage or stands)
    if old:  # the stage stood first
        say("explain STAGE -o RUN is now explain RUN STAGE; the old form goes with the next.")
        run, stage = str(output or study or "mini"), run
    out = Path(run)
    if study is None and (out / "study.yaml").is_file():
        study = str(out / "study.yaml")
    elif study is None and out.is_dir():
        raise InputError(
            f"{run!r} is no run directory (it has no study.yaml): give the folder that "
            "`langneurons run -o DIR` wrote."
        )
    made = Study.from_yaml(study or ("mini" if old else run), overrides or ())
    if not out.is_dir():
        out = output or Path("runs") / made.config.name
    laid = made.plan(out=out, keep_code=keep_code, verify=verify)
    digests = Digests(out, verify=verify)
    aside = [item for item in records.aside(out) if item["stage"].startswith(stage)]
    aside = [item for item in aside if item["key"] not in laid.keys.values()]
    found = [item for item in laid.stages if item.name.startswith(stage)]
    if not found and not aside:
        from langneurons.errors import unknown

        raise unknown("stage", stage, (item.name for item in laid.stages))
    for item in found:
        reason = records.why(out, laid, item, digests)
        typer.echo(f"{item.name}: {'would run: ' + reason if reason else 'stands'}")
        if reason is None:
            earlier = records.changed_code(records.read(out, item) or {}, laid, item)
            if keep_code and earlier:
                typer.echo(f"  made by earlier code of {', '.join(earlier)}")
    for kept in aside:
        typer.echo(
            f"{kept['stage']}: set aside (made {kept['finished']}), taken up again when the study "
            f"asks for it as it was; to be rid of it delete {out / '.aside' / kept['key'][:32]}"
        )


def list_presets(as_json: AsJson = False) -> None:
    """List the studies that come with the package."""
    from langneurons.study import presets

    found = presets()
    if as_json:
        print_json(found)
    else:
        print_table({"preset": found, "what": found.values()})
