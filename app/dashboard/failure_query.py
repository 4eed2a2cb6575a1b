"""The address of the list of error groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from flask import url_for

from app.dashboard.list_args import FailureArgs, load
from app.jobs.listing import OPEN


@dataclass(frozen=True)
class FailureQuery:
    """The list of error groups: a state (failure_words.VIEWS), a type, a search, and how many groups come before."""

    state: str = OPEN
    type: str | None = None
    q: str = ""
    skip: int = 0

    @classmethod
    def parse(cls, args: Mapping[str, str]) -> Self:
        return cls(**load(FailureArgs(), args))

    @property
    def is_filtered(self) -> bool:
        return bool(self.type or self.q)

    def url(self, **changes: Any) -> str:
        """The address with ``changes``: only what differs from the plain list."""
        facts = {name: value for name, value in asdict(replace(self, **changes)).items() if value}
        if facts.get("state") == OPEN:
            del facts["state"]
        return url_for("dashboard.failures", **facts)

    def cleared(self) -> str:
        return self.url(type=None, q="", skip=0)
