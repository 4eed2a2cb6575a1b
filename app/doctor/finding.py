"""One line of the report of ``flask doctor``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

OK, WARNING, CRITICAL = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. ``repair`` fixes it and returns a sentence about what it did."""

    name: str
    level: int  # OK, WARNING, CRITICAL
    message: str
    repair: Callable[[], str] | None = None
