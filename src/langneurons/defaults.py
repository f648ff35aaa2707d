"""Numbers that a command and the same part of a study share, in one place."""

BUILT_IN = ("mini", "mini-moe")
"""Names of the models that come with the package: a dense one, and a mixture of experts."""

BLOCK = 256
"""Tokens in a block."""

ROWS = 2048
"""Token rows kept for quantiles."""

HELD_OUT_TOKENS = 10_000
"""Tokens per language on which perplexity is measured, at most."""

RANDOM = 3
"""Same-size random draws beside a perplexity matrix."""

MATCHED = 3
"""Random draws of units of the same activity beside it."""

SWEEP_RANDOM = 2
"""Same-size random draws at every point of a sweep."""

SWEEP_MATCHED = 2
"""Random draws of units of the same activity at every point of a sweep."""

NEW_TOKENS = 24
"""Tokens written after each prompt where a language is forced."""
