"""A study as an object: read it, plan it, run it, report it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from langneurons.artifacts import digest, file_digest, read_json, write_json, write_text
from langneurons.config import checks, inputs, loading
from langneurons.config.schema import StudyConfig
from langneurons.errors import LangNeuronsError, unknown
from langneurons.progress import track
from langneurons.provenance import hub
from langneurons.provenance.environment import describe, public
from langneurons.provenance.files import Seen
from langneurons.stages import records
from langneurons.stages.digests import Digests
from langneurons.stages.runner import Outcome, Together, execute, locked
from langneurons.stages.stage import Plan
from langneurons.study import kinds, memory
from langneurons.study.plan import plan
from langneurons.study.result import Result
from langneurons.study.worker import Place
from langneurons.version import __version__

if TYPE_CHECKING:
    from langneurons.data.tasks import Task
    from langneurons.interface.workshop import Texts
    from langneurons.reporting.notebook import Drawing

EXECUTORS = ("local", "ray")


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
        self._texts: dict[str, Texts] | None = None
        self._commits: dict[str, str] = {}
        self._tasks: dict[str, Task] = {}
        self._out: Path | None = None
        self._dtype: str | None = None
        self._seen: Seen | None = None
        self._new: memory.Laid | None = None

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

    @property
    def resolved(self) -> StudyConfig:
        """The study with the dtype that ``auto`` stands for: that of the last plan's keys.

        Before there is one, what it stands for on this machine. Workers of Ray may be other
        machines: there ``auto`` stays.
        """
        if self.config.dtype != "auto" or self.config.executor == "ray":
            return self.config
        if self._dtype is None:
            from langneurons.models.loading import auto_name

            checks.check_machine(self.config)
            self._dtype = auto_name(
                self.config.model, revision=self.config.revision, device=self.config.device
            )
        return self.config.model_copy(update={"dtype": self._dtype})

    def texts(self) -> dict[str, Texts]:
        """Every language's documents, read once."""
        if self._texts is None:
            if self._seen is None:
                self._seen = memory.look(self.config)
            self._texts = {}
            with track("reading text", len(self.config.languages), "languages") as bar:
                for lang in self.config.languages:
                    self._texts[lang] = inputs.read(self.config, lang)
                    bar.advance()
        return self._texts

    def plan(
        self,
        *,
        fetch: bool = True,
        out: str | Path | None = None,
        keep_code: bool = False,
        verify: bool = False,
    ) -> Plan:
        """All stages with their keys; checks everything that can be checked without a model.

        Args:
            out: Run directory, which may have written down commits of what comes from the Hub.
            keep_code: Whether results in ``out`` stand that differ in their code alone.
            fetch: Whether text of the Hub is read for its content. Without it such languages'
                keys stand for the names of their sources: good for a look at a study that has no
                results yet, since nothing can be kept.
            verify: Whether a plan that ``out`` remembers of the same study, code and files (by
                their sizes and times) is laid out anew.

        Raises:
            InputError: Unreadable or empty text, unknown method, task or fine-tuning setting.
        """
        folder = None if out is None else Path(out)
        known = self._commits or (hub.read(folder) if folder is not None else {})
        self._look()
        self._new = self._dtype = kept = None
        if folder is not None and not verify:
            kept = memory.recall(folder, self._seen, known)
        if kept is not None:
            laid, self._dtype, self._commits = kept.plan, kept.dtype, dict(known)
        else:
            self.check()
            if not fetch and self._texts is None:
                return plan(self.config, inputs.identify_names(self.config))
            repositories = inputs.repositories(self.config)
            self._commits = hub.resolve(repositories, known)
            identity = inputs.identify(self.config, self.texts(), self._commits)
            laid = plan(self.resolved, identity)
            # Remembered once the run directory is there.
            self._new = memory.Laid(laid, self.resolved.dtype, self._seen)
        return records.accept(folder, laid) if keep_code and folder is not None else laid

    def _look(self) -> None:
        """See what there is before any of it is read; what was read of other files is let go."""
        seen = memory.look(self.config)
        if (seen and seen.of) != (self._seen and self._seen.of):
            self._texts, self._tasks = None, {}
        if self._texts is None or seen is None:
            self._seen = seen  # else that of before the texts were read: it is as strict, or more

    def _remember(self, folder: Path) -> None:
        # What the Hub did not tell may be told next time.
        if self._new and len(self._commits) == len(inputs.repositories(self.config)):
            memory.remember(folder, self._new, self._commits)

    def tasks(self) -> dict[str, Task]:
        """The study's tasks, each with the examples that have been read."""
        for name, spec in self.config.tasks.items():
            if name not in self._tasks:
                self._tasks[name] = inputs.pinned(
                    spec.source or name, self._commits, **spec.options()
                )
        return self._tasks

    def check(self) -> None:
        """Refuse what can be known to be wrong before any model is loaded.

        Raises:
            InputError: See :func:`langneurons.config.checks.check`.
        """
        checks.check(self.config)

    def check_data(self, out: str | Path, *, trust_remote_code: bool = False) -> None:
        """Refuse what can be known from model, data and output folder; reads tasks that lie here.

        Args:
            out: Run directory.
            trust_remote_code: Whether code from the model's repository may run.

        Raises:
            InputError: Examples that are not there, a model that cannot be one, or a file where
                the folder is to be.
        """
        checks.check_place(Path(out))
        checks.check_model(self.config, trust_remote_code)
        checks.check_examples(self.config, self.tasks())

    def run(
        self,
        out: str | Path,
        executor: str | None = None,
        report: Callable[[Outcome], None] = lambda outcome: None,
        *,
        trust_remote_code: bool = False,
        keep_code: bool = False,
        verify: bool = False,
    ) -> Result:
        """Do everything that does not stand yet, then write the report.

        Args:
            out: Run directory; the same one continues an interrupted run.
            executor: ``"local"`` or ``"ray"``; None: the study's own ``executor``.
            report: Told of every stage's outcome as it comes.
            trust_remote_code: Whether code from the model's repository may run; a study file
                cannot ask for it.
            keep_code: Whether results that earlier code made stand where nothing else has
                changed; the report then says so.
            verify: Whether every file is read and the report written anew, also where sizes and
                times say that nothing has changed since the last run.

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
        checks.check_place(folder)
        laid = self.plan(out=folder, keep_code=keep_code, verify=verify)
        with locked(folder):
            digests = Digests(folder, verify=verify)
            reasons = {
                stage.name: records.why(folder, laid, stage, digests) for stage in laid.stages
            }
            if any(reasons.values()):
                self.check()  # a plan that was remembered was not held against this machine
                self.check_data(folder, trust_remote_code=trust_remote_code)
                if executor == "local":
                    checks.check_machine(self.config)
            records.clear_parts(folder)
            records.settle(folder, laid)
            hub.write(folder, self._commits)
            write_text(folder / "study.yaml", public(loading.dump(self.config)))
            outcomes = self._execute(executor, folder, laid, reasons, report, trust_remote_code)
            if self._is_news(folder, laid, outcomes):
                write_json(folder / "environment.json", describe())
                seconds = time.perf_counter() - start
                self._write_run(folder, laid, outcomes, executor, started, seconds)
            page = None
            if (folder / "tables").is_dir():
                try:
                    page = self._page(folder, laid, verify)
                except LangNeuronsError as error:
                    # A report that cannot be written is one more failure, not the loss of the list.
                    outcomes = [*outcomes, Outcome("report", "failed", 0.0, str(error))]
            self._remember(folder)
            digests.save()
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
        reasons: Mapping[str, str | None],
        report: Callable[[Outcome], None],
        trusted: bool,
    ) -> list[Outcome]:
        if not any(reasons.values()):
            kept = [Outcome(stage.name, "kept", 0.0, "") for stage in laid.stages]
            for outcome in kept:
                report(outcome)
            return kept
        if executor == "ray":
            from langneurons.study import distributed

            cpus = max(1, int(self.config.ray.cpus))
            place = self._place(out, laid, self.config.threads or cpus, 1, trusted)
            return distributed.execute(self.resolved, place, reasons, report)
        from langneurons.study import beside

        workers, threads = beside.count(self.resolved, laid, reasons)
        if workers > 1:
            place = self._place(out, laid, threads, workers, trusted)
            return beside.execute(place, reasons, report)
        if self.config.threads:
            import torch

            torch.set_num_threads(self.config.threads)
        from langneurons.interface.workshop import Workshop

        workshop = Workshop(
            self.resolved, out, self.texts(), trusted, laid, self._revision(), self.tasks()
        )
        together = Together(kinds.alike, lambda stages: kinds.run_several(workshop, stages))
        return execute(
            out, laid, lambda stage: kinds.run(workshop, stage), report, reasons, together
        )

    def _place(self, out: Path, laid: Plan, threads: int, workers: int, trusted: bool) -> Place:
        """What another process needs to know to do stages."""
        return Place(
            config=self.resolved.model_dump_json(),
            out=str(out.resolve()),
            folder=str(Path.cwd()),
            threads=threads,
            workers=workers,
            texts=self.texts(),
            trusted=trusted,
            plan=laid,
            revision=self._revision(),
            commits=dict(self._commits),
        )

    def _revision(self) -> str | None:
        repository = inputs.model_repository(self.config.model)
        revision = self.config.revision
        if repository is None:
            return revision
        return inputs.commit(self._commits, "model", repository, revision)

    def report(self, out: str | Path) -> Path:
        """Write the report of a run directory and return its page."""
        from langneurons.study.report import report

        return report(out)

    def _page(self, out: Path, laid: Plan, verify: bool) -> Path:
        """The report's page, written anew only where it would be another."""
        made = [
            [stage.name, (records.read(out, stage) or {}).get("files")] for stage in laid.stages
        ]
        about = [
            file_digest(path) if path.is_file() else None
            for path in (out / "run.json", out / "environment.json")
        ]
        of = digest(made, about)
        if not verify and memory.report_stands(out, of):
            return out / "report" / "index.html"
        page = self.report(out)
        memory.remember_report(out, of)
        return page

    def _is_news(self, out: Path, laid: Plan, outcomes: Sequence[Outcome]) -> bool:
        """Whether there is more to say of a run than ``run.json`` says already."""
        if any(outcome.status != "kept" for outcome in outcomes):
            return True
        try:
            said = read_json(out / "run.json").get("earlier_code")
        except LangNeuronsError:
            return True
        return said != records.of_earlier_code(out, laid)

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
                "model": {
                    **_model_of(out, self.config.languages),
                    "source": public(self.config.model),
                },
                "languages": self.config.languages,
                "tasks": list(self.config.tasks),
                "train_language": self.config.train_language,
                "command": public(command_line()),
                "version": __version__,
                "seed": self.config.seed,
                "dtype": _dtype_of(out, self.config.languages) or self.config.dtype,
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
                "commits": self._commits,
                "earlier_code": records.of_earlier_code(out, laid),
                "made_differently": records.made_differently(out, laid),
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


def _dtype_of(out: Path, languages: list[str]) -> str | None:
    """What the model was run in, as its statistics say."""
    from langneurons.statistics import Statistics

    try:
        found = Statistics.load(out / "statistics", languages=languages)
    except LangNeuronsError:
        return None
    return next((str(item.options.get("dtype")) for item in found.by_language.values()), None)


def _model_of(out: Path, languages: list[str]) -> dict[str, Any]:
    from langneurons.statistics import Statistics

    try:
        return dict(Statistics.load(out / "statistics", languages=languages).model or {})
    except LangNeuronsError:
        return {}
