"""What a task is: examples of one kind in several languages, and how each is put to a model."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from langneurons.artifacts import expanded
from langneurons.data.languages import same_language
from langneurons.data.tasks.forms import END, EOS, Form, check_template
from langneurons.data.tasks.splits import parse_split, sample_groups
from langneurons.errors import InputError
from langneurons.registry import Registry

Kind = Literal["classification", "qa", "choice", "translation"]

NO_GOLD = -1
"""Label of an example whose gold answer is not known; it is counted, never scored."""


@dataclass(frozen=True)
class Example:
    """One item of a task.

    Attributes:
        id: Unique within task, language and split; the same in parallel languages.
        group: What items share (premise, paragraph); intervals and tests take groups as one.
        section: What groups share (article), where the data say so; no percentage of a split cuts
            a section in two.
        extra: Further facts for tables, such as ``{"holders": 2}``.
    """

    id: str
    group: str
    section: str | None = field(default=None, kw_only=True)
    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    def whole(self) -> str:
        """What a percentage of a split keeps together: the section, else the group."""
        return self.group if self.section is None else self.section


@dataclass(frozen=True)
class NLIExample(Example):
    """A pair of sentences and the index of its label (:data:`NO_GOLD` where unknown)."""

    premise: str
    hypothesis: str
    label: int


@dataclass(frozen=True)
class QAExample(Example):
    """A question on a context, and all its gold answers (empty where unknown)."""

    context: str
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class ChoiceExample(Example):
    """A question on a context, the answers to choose from, and the index of the right one."""

    context: str
    question: str
    choices: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class TranslationExample(Example):
    """A sentence, its translation, and the English names of both languages."""

    source: str
    reference: str
    source_language: str
    target_language: str


_EXAMPLES: Mapping[Kind, type[Example]] = {
    "classification": NLIExample,
    "qa": QAExample,
    "choice": ChoiceExample,
    "translation": TranslationExample,
}

_NOT_INPUT = frozenset({"id", "group", "section", "extra", "label", "answers", "reference"})
"""What of an example is no text for the model; the last three would give the answer away."""


def check_limit(limit: int | None) -> None:
    """Refuse a number of examples below one.

    Raises:
        InputError: Saying so.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1, got {limit}.")


class Task(abc.ABC):
    """Examples in several languages and the text a model reads for each.

    A subclass gives the class attributes, ``_read`` and a default ``template``. A template is
    the model's input with the example's fields in braces, and ``{eos}`` for the tokenizer's end
    token; everything but the context field (``context_field``) is kept whole when an example is too
    long for a model.

    Args:
        template: Another input text, with the fields of the example in braces, or the name of one
            of the task's :attr:`forms`, such as ``"paper"``.
        splits: Names for parts of what is there, in the notation of :func:`parse_split`, as
            ``{"train": "dev+test[:50%]", "test": "test[50%:]"}``.
        max_tokens: Examples whose input (in training with its answer) has more tokens are left
            out, instead of losing a part of their context; None: none is, but by a form's own
            number.

    Attributes:
        name: Registered name.
        kind: ``"classification"`` (a head or verbalised labels), ``"qa"`` (a generated answer),
            ``"choice"`` (the likeliest of the example's own answers) or ``"translation"``.
        labels: Names of the classes, in the order of the label index; empty for others.
        languages: Language codes known to exist; a local folder may hold others.
        stop: Text that ends a generated answer.
        max_answer_tokens: Longest generated answer in tokens; None leaves it to the evaluation.
        forms: Input texts by name.
        holds: The kind of example, whose fields a template may name.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    labels: ClassVar[tuple[str, ...]] = ()
    languages: tuple[str, ...] = ()
    context_field: ClassVar[str]
    default_template: ClassVar[str]
    stop: str = "\n"
    max_answer_tokens: int | None = None
    forms: ClassVar[Mapping[str, Form]] = {}
    holds: ClassVar[type[Example] | None] = None

    def __init__(
        self,
        *,
        template: str | None = None,
        splits: Mapping[str, str] | None = None,
        max_tokens: int | None = None,
    ) -> None:
        form = self._form(template)
        self.template = form.template
        if form.stop is not None:
            self.stop = form.stop.replace(f"{{{EOS}}}", END)
        if form.max_answer_tokens is not None:
            self.max_answer_tokens = form.max_answer_tokens
        self.max_tokens = form.max_tokens if max_tokens is None else max_tokens
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens must be at least 1, got {max_tokens}.")
        self.splits = dict(splits or {})
        # A study asks for the same examples in hundreds of cells.
        self._parts: dict[tuple[str, str], Sequence[Example]] = {}
        check_template(self.template, self.context_field, self.field_names())

    def _form(self, template: str | None) -> Form:
        if template is None:
            return Form(self.default_template)
        if template in self.forms:
            return self.forms[template]
        if "{" not in template:
            raise InputError(
                f"{self.name} has no input text named {template!r} (named are: "
                f"{', '.join(self.forms) or 'none'}): give a name, or a text with "
                f"{{{self.context_field}}} in it."
            )
        return Form(template)

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Fields that a template may name: those of an example but its answer."""
        kind = cls.holds or _EXAMPLES[cls.kind]
        return tuple(item.name for item in fields(kind) if item.name not in _NOT_INPUT)

    def examples(
        self, lang: str, split: str = "test", limit: int | None = None, seed: int = 0
    ) -> list[Example]:
        """Examples of one language, in the order of the data.

        Args:
            lang: Language code.
            split: ``"train"``, ``"dev"``, ``"test"``, parts and sums of them (``"test[:50%]"``,
                ``"dev+test[:100]"``; percentages never cut a group, or an article, in two).
            limit: At most so many, whole groups drawn at random; parallel languages give
                parallel samples.
            seed: Seed of that draw.

        Raises:
            InputError: If language, split or data are not there or cannot be used.
        """
        check_limit(limit)
        rows: list[Example] = []
        parts = parse_split(self.splits.get(split, split))
        for part in parts:
            found = part.of(self._part(lang, part.name), key=lambda row: row.whole)
            if len({other.name for other in parts}) > 1:
                # Sources number their splits from 0 each, so a sum of splits needs their names.
                found = [
                    replace(row, id=f"{part.name}:{row.id}", group=f"{part.name}:{row.group}")
                    for row in found
                ]
            rows.extend(found)
        if not rows:
            raise InputError(f"{self.name}: split {split!r} of {lang!r} is empty: take another.")
        _check_ids(self.name, lang, rows)
        return rows if limit is None else sample_groups(rows, limit, seed, lambda row: row.group)

    def _part(self, lang: str, split: str) -> Sequence[Example]:
        if (lang, split) not in self._parts:
            self._parts[lang, split] = self._read_any(lang, split)
        return self._parts[lang, split]

    def own_code(self, lang: str) -> str:
        """The task's own code of a language given in any common form (``eng_Latn`` for ``en``)."""
        return same_language(lang, self.languages) or lang

    def _read_any(self, lang: str, split: str) -> Sequence[Example]:
        own = self.own_code(lang)
        try:
            return self._read(own, split)
        except InputError:
            if own == lang:
                raise
            try:
                return self._read(lang, split)  # files may be called by the code as it was given
            except InputError:
                pass
            raise

    @abc.abstractmethod
    def _read(self, lang: str, split: str) -> Sequence[Example]:
        """All examples of one language and one split of the source."""

    def fields(self, example: Example) -> dict[str, str]:
        """What the template's braces stand for."""
        names = (key for key in vars(example) if key not in _NOT_INPUT)
        return {key: str(getattr(example, key)) for key in names}

    def parts(self, example: Example) -> tuple[str, str, str]:
        """The model's input as (before, context, after); only the context may be shortened.

        The end token, where the template names it, is :data:`~langneurons.data.tasks.forms.END`.
        """
        fields = {**self.fields(example), EOS: END}
        context = fields.pop(self.context_field)
        before, _, after = self.template.partition("{" + self.context_field + "}")
        return before.format(**fields), context, after.format(**fields)

    def encode(self, example: Example) -> str:
        """The model's input text: all of it, or for answers up to where the answer starts."""
        return "".join(self.parts(example))

    def target(self, example: Example) -> str:
        """The text that should follow the input of a question: its first answer and the stop.

        Raises:
            InputError: If the example has no gold answer.
        """
        if not isinstance(example, QAExample) or not example.answers:
            raise InputError(
                f"{self.name}: example {example.id!r} has no gold answer: take another split."
            )
        return f" {example.answers[0]}{self.stop}"

    def verbalised(self, example: Example, lang: str) -> tuple[tuple[str, str], ...]:
        """One (prefix, continuation) for each label; the likelier the continuation the better.

        Args:
            example: The example.
            lang: Language of the words.

        Returns:
            For each label or choice the text before it and the text that is scored.

        Raises:
            InputError: If the task has no words for the language.
        """
        raise InputError(f"{self.name} has no verbalised labels: evaluate it with an adapter.")

    def rules(
        self, lang: str, split: str = "test", limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Scores of rules that need no model; a task that has none returns nothing.

        Args:
            lang: Language code.
            split: See :meth:`examples`.
            limit: See :meth:`examples`.

        Returns:
            Rows with ``rule``, ``subset`` (``"all"`` or a part), ``metric``, ``value`` (%), ``n``.
        """
        return []

    @property
    def chance(self) -> float:
        """Score of a random guesser in %: 100 / classes for classes, 0 for free answers."""
        return 100.0 / len(self.labels) if self.labels else 0.0

    def describe(self) -> dict[str, Any]:
        """What defines the task's input, for keys of caches and for result files."""
        asked: dict[str, Any] = {} if self.max_tokens is None else {"max_tokens": self.max_tokens}
        # What a form says of answers: a text of one's own may be the same, and they end otherwise.
        for name in ("stop", "max_answer_tokens"):
            if (own := getattr(self, name)) != getattr(type(self), name):
                asked[name] = own
        return {"task": self.name, "template": self.template, "splits": self.splits, **asked}


class SourcedTask(Task):
    """A task whose data lie in local files or on the Hub.

    Args:
        path: Folder with the files (or one file, where the task says so); None reads the Hub.
        repo: Dataset of the Hub, or a folder laid out like it; None for the task's own.
        **options: ``template``, ``splits``, ``max_tokens``: see :class:`Task`.
    """

    default_repo: ClassVar[str]

    def __init__(
        self,
        *,
        path: str | Path | None = None,
        repo: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.path = None if path is None else expanded(path)
        self.repo = repo or self.default_repo

    def describe(self) -> dict[str, Any]:
        """See :meth:`Task.describe`."""
        source = self.repo if self.path is None else self.path.name
        return {**super().describe(), "source": source}


TASKS: Registry[type[Task]] = Registry("task", package="langneurons.data.tasks")
"""All tasks by name; a new task is one new file in this package."""


def get_task(spec: str | Task, **options: Any) -> Task:
    """Make a task from its name, optionally with the place of its data.

    Args:
        spec: ``"mini-nli"``, ``"xnli"`` (from the Hub), ``"xnli:FOLDER"`` (local files), or a
            task, which is returned as it is.
        **options: Options of the task (``template``, ``splits``, ``path``, ``repo`` ...).

    Raises:
        InputError: If the name or an option is unknown.
    """
    if isinstance(spec, Task):
        if options:
            raise InputError(f"task {spec.name!r} is made already: give options with its name.")
        return spec
    name, _, path = str(spec).partition(":")
    kind = TASKS.get(name)
    if path:
        options = {"path": path, **options}
    try:
        return kind(**options)
    except TypeError as error:
        given = ", ".join(sorted(options))
        raise InputError(
            f"task {name!r} does not take all of: {given} ({error}); leave out what it does not."
        ) from error


def _check_ids(task: str, lang: str, rows: Sequence[Example]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise InputError(
                f"{task}: id {row.id!r} occurs more than once in {lang!r}; ids must be unique."
            )
        seen.add(row.id)
