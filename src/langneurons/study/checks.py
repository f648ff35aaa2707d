"""What can be known to be wrong with a study before any model is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from langneurons.errors import InputError, LangNeuronsError, unknown
from langneurons.study import inputs
from langneurons.study.beyond.plan import check_published_features
from langneurons.study.schema import StudyConfig

if TYPE_CHECKING:
    from langneurons.data.tasks import Task
    from langneurons.identification import Method


def check(config: StudyConfig) -> None:
    """Refuse unknown words and what does not fit together.

    Raises:
        InputError: Unknown site, method, method parameter, task, task language, device or setting;
            fewer languages than a method compares; a model that cannot be one.
    """
    from langneurons.models import SITES

    _device(config)
    if config.statistics.site not in SITES:
        raise unknown("site", config.statistics.site, SITES, "in 'statistics.site'")
    _neurons(config, SITES)
    sites = {name: part.site for name, part in config.subspaces.items()}
    sites |= {name: part.site for name, part in config.features.items()}
    for name, site in sites.items():
        if site not in SITES:
            raise unknown("site", site, SITES, f"in part {name!r}")
    check_published_features(config)
    for name in config.tasks:
        _task(config, name)


def check_model(config: StudyConfig, trusted: bool = False) -> None:
    """Refuse a model that cannot be one, and blocks that are longer than its positions.

    Args:
        config: The study.
        trusted: Whether code from the model's repository may run.

    Raises:
        InputError: As far as can be seen without weights or network.
    """
    from langneurons.models import loading

    positions = loading.check(config.model, revision=config.revision, trust_remote_code=trusted)
    blocks = {"statistics.block": config.statistics.block}
    if config.perplexity and config.perplexity.block:
        blocks["perplexity.block"] = config.perplexity.block
    for key, block in blocks.items():
        if positions is not None and block > positions:
            raise InputError(
                f"{key}: {block} tokens, but the model has {positions} positions: lower it."
            )


def _device(config: StudyConfig) -> None:
    import torch

    if config.device not in ("auto", "balanced"):
        try:
            torch.device(config.device)
        except RuntimeError as error:
            raise InputError(
                f"device: no device is called {config.device!r}: use auto, balanced, cpu, cuda or "
                "cuda:0."
            ) from error


def _neurons(config: StudyConfig, sites: Collection[str]) -> None:
    from langneurons.identification import METHODS, QUOTAS, resolve_languages

    for name, spec in config.neurons.items():
        if spec.site is not None and spec.site not in sites:
            raise unknown("site", spec.site, sites, f"in 'neurons.{name}'")
        try:
            own = {key: v for key, v in spec.parameters.items() if key not in QUOTAS}
            method = METHODS.get(spec.method)
            method.resolve(own)
            if spec.derive is None:
                _enough(method, resolve_languages(spec.languages, config.languages))
        except LangNeuronsError as error:
            raise InputError(f"neurons.{name}: {error}") from error
    for name, features in config.features.items():
        method = METHODS.get(features.method)
        if method.needs != "counts":
            raise InputError(
                f"features.{name}: method {features.method!r} reads more than counts; take "
                "lape or entropy_lambda."
            )
        method.resolve(features.parameters)
        _enough(method, config.languages)


def _enough(method: Method, languages: list[str] | tuple[str, ...]) -> None:
    if len(languages) < method.least:
        raise InputError(
            f"method {method.name!r} compares at least {method.least} languages, got "
            f"{len(languages)} ({', '.join(languages)}): add another language."
        )


def _task(config: StudyConfig, name: str) -> None:
    from langneurons.data.tasks import get_task
    from langneurons.data.tasks.splits import parse_split
    from langneurons.finetuning import get_recipe

    spec = config.tasks[name]
    task = get_task(spec.source or name)
    own = task.own_code(config.train_language)
    for lang in spec.languages or config.languages:
        if task.languages and task.own_code(lang) not in task.languages:
            raise unknown(f"language of task {name}", lang, task.languages)
    if config.adapters and task.languages and own not in task.languages:
        raise unknown(
            f"language of task {name}", config.train_language, task.languages,
            "in 'train_language'",
        )  # fmt: skip
    settings = {**config.finetune, **spec.finetune}
    get_recipe(settings.pop("recipe", None), **settings)
    for split in (spec.split, spec.train_split):
        if split is not None:
            parse_split(split)


def check_tasks(config: StudyConfig, tasks: Mapping[str, Task]) -> None:
    """Refuse splits and languages of which there is no data, where the data lie here.

    Args:
        config: The study.
        tasks: Its tasks by name; what is read stays in them.

    Raises:
        InputError: If examples that the study asks for are not there.
    """
    from langneurons.finetuning import get_recipe

    for name, task in tasks.items():
        spec = config.tasks[name]
        if inputs.task_repository(spec.source or name) is not None:
            continue
        wanted = [(lang, spec.split) for lang in spec.languages or config.languages]
        if config.adapters:
            settings = {**config.finetune, **spec.finetune}
            given = {"split": spec.train_split} if spec.train_split else {}
            recipe = get_recipe(settings.pop("recipe", None), **{**given, **settings})
            wanted.append((config.train_language, recipe.split))
        for lang, split in wanted:
            try:
                task.examples(lang, split)
            except LangNeuronsError as error:
                raise InputError(f"tasks.{name}: {error}") from error


def check_place(out: Path) -> None:
    """Refuse an output folder that cannot be one.

    Raises:
        InputError: If a file is in the way.
    """
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                raise InputError(f"-o {str(out)!r}: {str(place)!r} is a file: give a folder.")
            return


def check_machine(config: StudyConfig) -> None:
    """Refuse a device that is not in this machine.

    Raises:
        InputError: If there is none of that name.
    """
    import torch

    if config.device in ("auto", "balanced"):
        return
    try:
        torch.empty(0, device=config.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device: there is no {config.device!r} here: use auto or cpu, or another machine."
        ) from error
