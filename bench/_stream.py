"""A change of the residual stream on the tasks of a finished run: cells evaluated once and kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.real_puzzle import shown
from langneurons.artifacts import digest, file_digest
from langneurons.evaluation import Scores, compare, evaluate
from langneurons.interface.workshop import Workshop
from langneurons.models import LanguageModel
from langneurons.study import Study

COLUMNS = ["adapter", "language", "untouched", "what", "change", "answers changed"]


class Within(Protocol):
    """Within the block, the model is changed."""

    def __call__(self, lm: LanguageModel) -> AbstractContextManager[object]: ...


@dataclass(frozen=True)
class Change:
    """What is done, and what makes it that.

    Attributes:
        within: The change.
        identity: Tensors and plain values; a cell is measured again where one of them is another.
    """

    within: Within
    identity: tuple[object, ...]


@dataclass(frozen=True)
class Run:
    """A finished run whose adapters were tested under interventions, and its first task."""

    folder: Path
    workshop: Workshop
    task: str
    adapters: list[str]
    languages: list[str]

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read the study of a run again."""
        study = Study.from_yaml(str(folder / "study.yaml"))
        config, about = study.config, study.config.interventions
        assert about is not None
        chosen = [about.adapter] if isinstance(about.adapter, str) else list(about.adapter or [])
        languages = [config.train_language, *(about.languages or config.languages)]
        return cls(
            folder, Workshop(config, folder, study.texts()), next(iter(config.tasks)), chosen,
            list(dict.fromkeys(map(str, languages))),
        )  # fmt: skip

    def rows(self, out: Path, changes: dict[str, dict[str, Change]]) -> Iterator[list[str]]:
        """One row an adapter, language and change: accuracy in points against no intervention.

        Args:
            out: Folder the cells are kept in, by name and a digest of adapter and change.
            changes: Language to name to change.
        """
        spec = self.workshop.context.spec_of("tasks")[self.task]
        for adapter in self.adapters:
            for language in self.languages:
                folder = self.folder / "scores" / self.task / adapter / language
                plain = Scores.load(folder / "none.parquet")
                weights = self.folder / "adapters" / self.task / adapter
                trained = file_digest(weights / "adapter_model.safetensors")
                for name, change in changes.get(language, {}).items():
                    key = digest(trained, spec.limit, *change.identity)[:12]
                    path = out / adapter / language / f"{name}, {key}.parquet"
                    if not path.is_file():
                        path.parent.mkdir(parents=True, exist_ok=True)
                        lm = self.workshop.adapted(self.task, adapter)
                        with change.within(lm):
                            evaluate(lm, self.workshop.task(self.task), language,
                                     split=spec.split, limit=spec.limit, output=path)  # fmt: skip
                    scores = Scores.load(path)
                    other = scores.rows["prediction"] != plain.rows["prediction"]
                    moved = shown(compare(scores, plain))
                    yield [adapter, language, f"{plain.value():.1f}", name, moved, f"{other.sum()}"]
