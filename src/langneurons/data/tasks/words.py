"""Label words of natural-language inference, one meaning in every language.

The pattern is "PREMISE, right? Yes | Also | No, HYPOTHESIS": affirmation entails, an addition is
neutral, a denial contradicts. The same three meanings are used in every language; published
prompt tables mix "also" with "so" and "therefore" for the neutral label.
"""

from __future__ import annotations

from dataclasses import dataclass

from langneurons.data.languages import same_language
from langneurons.errors import InputError


@dataclass(frozen=True)
class LabelWords:
    """Words for entailment, neutral and contradiction, and the language's punctuation.

    Attributes:
        right: The tag question ("right?").
        labels: Words in the order entailment, neutral, contradiction.
        comma: Comma with the space that follows it.
        space: What stands between the question and the label word.
    """

    right: str
    labels: tuple[str, str, str]
    comma: str = ", "
    space: str = " "


NLI_WORDS: dict[str, LabelWords] = {
    "ar": LabelWords("صحيح؟", ("نعم", "أيضا", "لا"), comma="، "),
    "bg": LabelWords("нали?", ("Да", "Също така", "Не")),
    "de": LabelWords("richtig?", ("Ja", "Außerdem", "Nein")),
    "el": LabelWords("σωστά;", ("Ναι", "Επίσης", "Όχι")),
    "en": LabelWords("right?", ("Yes", "Also", "No")),
    "es": LabelWords("¿verdad?", ("Sí", "También", "No")),
    "fr": LabelWords("n'est-ce pas ?", ("Oui", "De plus", "Non")),
    "hi": LabelWords("है ना?", ("हाँ", "साथ ही", "नहीं")),
    "ja": LabelWords("ですよね?", ("はい", "また", "いいえ"), comma="、", space=""),
    "ko": LabelWords("맞죠?", ("네", "또한", "아니요")),
    "ru": LabelWords("верно?", ("Да", "Также", "Нет")),
    "sw": LabelWords("sivyo?", ("Ndiyo", "Pia", "Hapana")),
    "th": LabelWords("ใช่ไหม", ("ใช่", "นอกจากนี้", "ไม่"), comma=" "),
    "tr": LabelWords("değil mi?", ("Evet", "Ayrıca", "Hayır")),
    "ur": LabelWords("ہے نا؟", ("ہاں", "اس کے علاوہ", "نہیں"), comma="، "),
    "vi": LabelWords("đúng không?", ("Đúng", "Ngoài ra", "Không")),
    "zh": LabelWords("对吗?", ("是的", "此外", "不"), comma=",", space=""),
}


def label_words(task: str, lang: str) -> LabelWords:
    """The words of a language given by a code of any common form.

    Args:
        task: Name of the task, for the message.
        lang: The language.

    Raises:
        InputError: If there are none in the language.
    """
    own = same_language(lang, NLI_WORDS)
    if own is None:
        raise InputError(f"{task} has no label words for {lang!r}; known: {', '.join(NLI_WORDS)}.")
    return NLI_WORDS[own]
