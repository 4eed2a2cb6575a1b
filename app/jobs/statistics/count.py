"""Counts that know whether they are exact."""

from __future__ import annotations

from typing import Self

#: How many rows a bounded count reads: about 10 ms.
COUNT_BOUND = 10_000


class Count(int):
    """A number of rows; with ``is_exact`` False there are at least that many."""

    is_exact: bool

    def __new__(cls, value: int, is_exact: bool = True) -> Self:
        """``value`` rows; ``is_exact`` is False if counting stopped at its bound."""
        self = super().__new__(cls, value)
        self.is_exact = is_exact
        return self

    def __repr__(self) -> str:
        return f"{int(self)}" if self.is_exact else f"{int(self)}+"
