"""The built-in world: texts and tasks in seven languages, and two tiny models trained on them.

The world is small on purpose; what it is and what it misses is told in ``docs/mini.md``.
"""

from __future__ import annotations

from pathlib import Path

from langneurons.mini.baselines import rules
from langneurons.mini.tasks import LANGUAGES, nli, nli_input, qa, qa_prompt, text

__all__ = ["LANGUAGES", "model_path", "nli", "nli_input", "qa", "qa_prompt", "rules", "text"]


def model_path(name: str = "mini") -> Path:
    """Folder of a packaged model; `AutoModelForCausalLM` and `AutoTokenizer` load it as it is.

    Args:
        name: ``"mini"``, or ``"mini-moe"``: a mixture of experts cut from it and trained on.
    """
    return Path(__file__).parent / "assets" / {"mini": "model", "mini-moe": "mixture"}[name]
