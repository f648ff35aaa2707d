"""Open questions in parallel languages, as CLaS-Bench asks them (arXiv 2601.08331).

Gurgurov et al. 2026, "CLaS-Bench: A Cross-Lingual Alignment and Steering Benchmark": 70 questions,
``data/LANG.txt``, a question a line, the lines parallel. Nothing says what a right answer is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langneurons.data.languages import plain_code
from langneurons.data.tasks.base import TASKS, Example, QAExample, SourcedTask
from langneurons.data.tasks.flores import NAMES as _FLORES
from langneurons.data.tasks.sources import find_file, load_hub, read_squad
from langneurons.data.tasks.squad import qa_examples
from langneurons.errors import InputError

NAMES: Mapping[str, str] = {
    **_FLORES,
    "af": "Afrikaans",
    "bo": "Tibetan",
    "cs": "Czech",
    "da": "Danish",
    "el": "Greek",
    "fa": "Persian",
    "it": "Italian",
    "ka": "Georgian",
    "kk": "Kazakh",
    "mt": "Maltese",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "sk": "Slovak",
    "sv": "Swedish",
    "tl": "Tagalog",
    "uk": "Ukrainian",
}
"""English names of languages, for prompts that ask to answer in one."""


def language_name(code: str) -> str:
    """English name of a language.

    Raises:
        InputError: If it is not known here.
    """
    name = NAMES.get(code) or NAMES.get(plain_code(code))
    if name is None:
        raise InputError(
            f"no English name is known for {code!r}: leave the way that asks for the language out."
        )
    return name


@TASKS.register("clas")
class Clas(SourcedTask):
    """Questions without a context, the same ones in every language.

    Args:
        path: Folder with ``LANG.txt``, or CLaS-Bench's own with ``data`` in it; or one with
            XQuAD's ``xquad.LANG.json``. None: the questions of XQuAD, from the Hub. Those of XQuAD
            come with their answers.
        **options: See :class:`SourcedTask`. A template has ``{question}`` and, of XQuAD, may have
            ``{context}``.
    """

    name = "clas"
    kind = "qa"
    languages = tuple(NAMES)
    context_field = "question"
    default_template = "{question}"
    default_repo = "google/xquad"
    stop = "\n\n"
    max_answer_tokens = 64

    def _read(self, lang: str, split: str) -> Sequence[Example]:
        if split != "test":
            raise InputError(f"clas has no split {split!r}: it is a test set, take test[:50%].")
        if self.path is None:
            rows = load_hub(self.repo, f"xquad.{lang}", "validation", f"clas {lang!r}")
            return qa_examples(rows, 5)
        inside = self.path / "data"
        folder = inside if inside.is_dir() else self.path
        file = find_file(folder, [lang, f"xquad.{lang}"], (".txt", ".json"), f"clas {lang!r}")
        if file.suffix == ".json":
            return qa_examples(read_squad(file))
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{str(file)!r} is not UTF-8 text: convert it to UTF-8.") from error
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        return [
            QAExample(id=str(place), group=str(place), context="", question=line, answers=())
            for place, line in enumerate(lines)
        ]
