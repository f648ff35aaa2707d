"""How a value is written, and over which tokens."""

from __future__ import annotations

from typing import Literal

Mode = Literal["set", "add", "multiply", "steer", "force"]
Scope = Literal["all", "prompt", "generated", "last", "rest", "text", "padding"]
