"""Beginnings of texts to start from."""

from __future__ import annotations

from collections.abc import Sequence

from langneurons.defaults import BUILT_IN

BEGINNINGS = {
    "en": "The weather was fine this morning, and the children",
    "de": "Das Wetter war heute Morgen schön, und die Kinder",
    "es": "Esta mañana hacía buen tiempo y los niños",
    "fr": "Ce matin, il faisait beau et les enfants",
    "it": "Stamattina il tempo era bello e i bambini",
    "pt": "Esta manhã o tempo estava bom e as crianças",
    "vi": "Sáng nay trời đẹp và bọn trẻ",
    "hi": "आज सुबह मौसम अच्छा था और बच्चे",
    "ur": "آج صبح موسم اچھا تھا اور بچے",
    "ar": "كان الطقس جميلا هذا الصباح، والأطفال",
    "ru": "Сегодня утром была хорошая погода, и дети",
    "zh": "今天早上天气很好，孩子们",
    "ja": "今朝は天気が良くて、子供たちは",
}
"""One sentence in several languages."""

MINI_SENTENCES = 3


def prompts(model: str, languages: Sequence[str]) -> dict[str, str]:
    """A prompt for each language that has one.

    Args:
        model: Name of the model; the built-in one knows no words but those of its world.
        languages: Languages of the neuron set.
    """
    if model in BUILT_IN:
        from langneurons import mini

        return {
            lang: _beginning(mini.text(lang, tokens=1, split="heldout")[0])
            for lang in languages
            if lang in mini.LANGUAGES
        }
    return {lang: BEGINNINGS[lang] for lang in languages if lang in BEGINNINGS}


def _beginning(document: str) -> str:
    """A few sentences and the first word of the next."""
    paragraph = document.split("\n")[0]
    stop = next((sign for sign in ".।۔。" if sign in paragraph), ".")
    sentences = [part for part in paragraph.split(stop) if part.strip()]
    kept = stop.join(sentences[:MINI_SENTENCES]) + stop
    following = sentences[MINI_SENTENCES] if len(sentences) > MINI_SENTENCES else sentences[0]
    word = following.split()[0] if " " in following.strip() else following[:3]
    return f"{kept}{' ' if ' ' in kept else ''}{word}"
