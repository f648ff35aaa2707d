"""What is collected: its keys."""

from __future__ import annotations

from pydantic import Field

from langneurons import defaults
from langneurons.interface.context import Context, known_site
from langneurons.interface.spec import Spec


class StatisticsSpec(Spec):
    """What is collected, in every language alike."""

    site: str = Field("mlp.act", description="Where units live; see `langneurons.models`.")
    tokens: int = Field(100_000, ge=1, description="Tokens counted per language, at most.")
    block: int = Field(defaults.BLOCK, ge=2, description="Tokens in a block.")
    rows: int = Field(defaults.ROWS, ge=1, description="Token rows kept for quantiles.")
    shards: int = Field(
        1, ge=1, description="Parts of a language, collected one by one (on several machines)."
    )

    def told(self) -> str:
        """How much is counted."""
        return f"{self.tokens:,} tokens a language"


def check(spec: StatisticsSpec, context: Context) -> None:
    """Refuse another site than the one of the paper's protocol."""
    if context.protocol == "paper" and spec.site != "mlp.pre":
        raise ValueError("protocol paper takes statistics of mlp.pre: leave statistics.site")


def verify(spec: StatisticsSpec, context: Context) -> None:
    """Refuse a site that no model has."""
    known_site(spec.site, "in 'statistics.site'")
