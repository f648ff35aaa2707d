"""A study as an object: read it, plan it, run it, report it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from langneurons.artifacts import write_json, write_text
from langneurons.errors import InputError, LangNeuronsError, unknown
from langneurons.progress import track
from langneurons.study import inputs, loading, records
from langneurons.study.beyond.plan import check_published_features
from langneurons.study.environment import describe, public
from langneurons.study.plan import Plan, plan
from langneurons.study.runner import Outcome, execute, locked
from langneurons.study.schema import StudyConfig
from langneurons.version import __version__

if TYPE_CHECKING:
    from langneurons.reporting.notebook import Drawing

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        out: Run directory.
        outcomes: One per stage, in the plan's order.
        report: Path of the report page, or None where it could not be made.
        seconds: Time of the whole run.
    """

    out: Path
    outcomes: tuple[Outcome, ...]
    report: Path | None
    seconds: float

    @property
    def failed(self) -> list[Outcome]:
        """Stages that failed; those skipped because of them are not among these."""
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]

    def _repr_html_(self) -> str:
        from langneurons.study.notebook import result_html

        return result_html(self)


class Study:
    """One experiment: a checked configuration and what can be done with it.

    Args:
        config: The configuration; :meth:`from_yaml` makes one.

    Example:
        >>> import langneurons as ln
        >>> study = ln.Study.from_yaml("mini", ["budget=small"])
        >>> study.config.languages[0]
        'en'
    """

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self._texts: dict[str, inputs.Texts] | None = None
        self._out: Path | None = None

    def _repr_html_(self) -> str:
        from langneurons.study.notebook import study_html

        return study_html(self.config, self._out)

    @classmethod
    def from_yaml(
        cls,
        path: str | Path,
        overrides: Sequence[str] = (),
        changes: Mapping[str, Any] | None = None,
    ) -> Study:
        """Read a study from a YAML file or a preset's name; see :func:`loading.load`."""
        return cls(loading.load(path, overrides, changes))

    @classmethod
    def series(
        cls,
        path: str | Path,
        overrides: Sequence[str] = (),
        changes: Mapping[str, Any] | None = None,
    ) -> dict[str, Study]:
        """Read a series of studies, by member; ``{"": study}`` where the file holds one study."""
        found = loading.load_series(path, overrides, changes)
        return {name: cls(config) for name, config in found.items()}

    def texts(self) -> dict[str, inputs.Texts]:
        """Every language's documents, read once."""
        if self._texts is None:
            self._texts = {}
            with track("reading text", len(self.config.languages), "languages") as bar:
                for lang in self.config.languages:
                    self._texts[lang] = inputs.read(self.config, lang)
                    bar.advance()
        return self._texts

    def plan(self, *, fetch: bool = True) -> Plan:
        """All stages with their keys; checks everything that can be checked without a model.

        Args:
            fetch: Whether text of the Hub is read for its content. Without it such languages'
                keys stand for the names of their sources: good for a look at a study that has no
                results yet, since nothing can be kept.

        Raises:
            InputError: Unreadable or empty text, unknown method, task or fine-tuning setting.
        """
        self.check()
        if not fetch and self._texts is None:
            return plan(self.config, inputs.identify_names(self.config))
        return plan(self.config, inputs.identify(self.config, self.texts()))

    def check(self) -> None:
        """Refuse what can be known to be wrong before any model is loaded.

        Raises:
            InputError: Unknown method, method parameter, task, task language or setting.
        """
        from langneurons.data.tasks import get_task
        from langneurons.finetuning import get_recipe
        from langneurons.identification import METHODS, QUOTAS
        from langneurons.models import SITES

        if self.config.statistics.site not in SITES:
            raise unknown("site", self.config.statistics.site, SITES, "in 'statistics.site'")
        for name, spec in self.config.neurons.items():
            if spec.site is not None and spec.site not in SITES:
                raise unknown("site", spec.site, SITES, f"in 'neurons.{name}'")
            try:
                own = {key: v for key, v in spec.parameters.items() if key not in QUOTAS}
                METHODS.get(spec.method).resolve(own)
            except LangNeuronsError as error:
                raise InputError(f"neurons.{name}: {error}") from error
        sites = {name: part.site for name, part in self.config.subspaces.items()}
        sites |= {name: part.site for name, part in self.config.features.items()}
        for name, site in sites.items():
            if site not in SITES:
                raise unknown("site", site, SITES, f"in part {name!r}")
        for name, features in self.config.features.items():
            method = METHODS.get(features.method)
            if method.needs != "counts":
                raise InputError(
                    f"features.{name}: method {features.method!r} reads more than counts; take "
                    "lape or entropy_lambda."
                )
            method.resolve(features.parameters)
        check_published_features(self.config)
        for name, task_spec in self.config.tasks.items():
            task = get_task(task_spec.source or name)
            for lang in task_spec.languages or self.config.languages:
                if task.languages and task.own_code(lang) not in task.languages:
                    raise unknown(f"language of task {name}", lang, task.languages)
            settings = {**self.config.finetune, **task_spec.finetune}
            get_recipe(settings.pop("recipe", None), **settings)

    def run(
        self,
        out: str | Path,
        executor: str | None = None,
        report: Callable[[Outcome], None] = lambda outcome: None,
        *,
        trust_remote_code: bool = False,
    ) -> Result:
        """Do everything that does not stand yet, then write the report.

        Args:
            out: Run directory; the same one continues an interrupted run.
            executor: ``"local"`` or ``"ray"``; None: the study's own ``executor``.
            report: Told of every stage's outcome as it comes.
            trust_remote_code: Whether code from the model's repository may run; a study file
                cannot ask for it.

        Returns:
            Outcomes and the report's path. A failed stage does not stop the others.

        Raises:
            InputError: Something is wrong with the study; nothing was started.
        """
        executor = executor or self.config.executor
        if executor not in EXECUTORS:
            raise unknown("executor", executor, EXECUTORS)
        start, started = time.perf_counter(), _now()
        folder = self._out = Path(out)
        laid = self.plan()
        if self.config.threads:
            import torch

            torch.set_num_threads(self.config.threads)
        with locked(folder):
            records.clear_parts(folder)
            write_text(folder / "study.yaml", public(loading.dump(self.config)))
            outcomes = self._execute(executor, folder, laid, report, trust_remote_code)
            if (
                any(outcome.status != "kept" for outcome in outcomes)
                or not (folder / "run.json").is_file()
            ):
                write_json(folder / "environment.json", describe())
                seconds = time.perf_counter() - start
                self._write_run(folder, laid, outcomes, executor, started, seconds)
            page = None
            if (folder / "tables").is_dir():
                try:
                    page = self.report(folder)
                except LangNeuronsError as error:
                    # A report that cannot be written is one more failure, not the loss of the list.
                    outcomes = [*outcomes, Outcome("report", "failed", 0.0, str(error))]
        return Result(folder, tuple(outcomes), page, time.perf_counter() - start)

    def plot(self, kind: str | None = None, out: str | Path | None = None) -> Drawing:
        """Draw a figure of the report; :func:`langneurons.study.notebook.plot` says which.

        Args:
            kind: Name of the figure, such as ``neurons_lape``; None draws the usual.
            out: Run directory; None takes this study's last run.
        """
        from langneurons.study.notebook import plot

        return plot(self._out if out is None else Path(out), kind)

    def _execute(
        self,
        executor: str,
        out: Path,
        laid: Plan,
        report: Callable[[Outcome], None],
        trusted: bool,
    ) -> list[Outcome]:
        if executor == "ray":
            from langneurons.study import distributed

            return distributed.execute(self.config, out, laid, self.texts(), report, trusted)
        from langneurons.study import stages
        from langneurons.study.workshop import Workshop

        workshop = Workshop(self.config, out, self.texts(), trusted)
        return execute(out, laid, lambda stage: stages.run(workshop, stage), report)

    def report(self, out: str | Path) -> Path:
        """Write the report of a run directory and return its page."""
        from langneurons.study.report import report

        return report(out)

    def _write_run(
        self,
        out: Path,
        laid: Plan,
        outcomes: Sequence[Outcome],
        executor: str,
        started: str,
        seconds: float,
    ) -> None:
        taken = {stage.name: records.read(out, stage) or {} for stage in laid.stages}
        write_json(
            out / "run.json",
            {
                "name": self.config.name,
                "model": {**_model_of(out), "source": public(self.config.model)},
                "languages": self.config.languages,
                "tasks": list(self.config.tasks),
                "train_language": self.config.train_language,
                "command": public(command_line()),
                "version": __version__,
                "seed": self.config.seed,
                "dtype": _dtype_of(out) or self.config.dtype,
                "executor": executor,
                "budget": self.config.budget,
                "protocol": self.config.protocol,
                "started": started,
                "finished": _now(),
                "seconds": round(seconds, 1),
                "stages": [
                    {
                        "name": outcome.name,
                        "status": outcome.status,
                        "seconds": taken[outcome.name].get("seconds", 0.0),
                        "reason": public(outcome.reason),
                    }
                    for outcome in outcomes
                ],
                "parameters": yaml.safe_load(public(loading.dump(self.config))),
            },
        )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def command_line() -> str:
    """The command as typed, for the run's records."""
    import shlex

    name = os.path.basename(sys.argv[0]) or "python"
    return shlex.join([name, *sys.argv[1:]])


def _dtype_of(out: Path) -> str | None:
    """What the model was run in, as its statistics say."""
    from langneurons.statistics import Statistics

    try:
        found = Statistics.load(out / "statistics")
    except LangNeuronsError:
        return None
    return next((str(item.options.get("dtype")) for item in found.by_language.values()), None)


def _model_of(out: Path) -> dict[str, Any]:
    from langneurons.statistics import Statistics

    try:
        return dict(Statistics.load(out / "statistics").model or {})
    except LangNeuronsError:
        return {}
