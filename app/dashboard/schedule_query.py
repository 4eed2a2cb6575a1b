"""The address of the list of schedules: its filters, and the links that change one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from marshmallow import fields, validate

from app.dashboard.list_args import ListArgs, load
from app.dashboard.list_query import Chip, ListQuery
from app.jobs.schedules.listing import MISSED, STATES

#: What the list can be narrowed to, with its words.
STATE_LABELS = {
    **{state: state.capitalize() for state in STATES},
    MISSED: "Missed or failed in the last 24 h",
}


class ScheduleArgs(ListArgs):
    state = fields.String(validate=validate.OneOf(tuple(STATE_LABELS)))


@dataclass(frozen=True)
class ScheduleQuery(ListQuery):
    """Which schedules the list shows."""

    state: str | None = None

    endpoint: ClassVar[str] = "dashboard.schedules"

    @classmethod
    def parse(cls, args: Mapping[str, str]) -> Self:
        return cls(**load(ScheduleArgs(), args))

    @property
    def is_pinned(self) -> bool:
        """By name: nothing arrives above the first page."""
        return False

    @property
    def is_filtered(self) -> bool:
        return bool(self.state or self.type or self.q)

    @property
    def states(self) -> dict[str, str]:
        """Choices for ``state``."""
        return STATE_LABELS

    def with_state(self, state: str) -> str:
        return replace(self.first, state=state).url()

    def chips(self) -> list[Chip]:
        """One per filter that narrows the list, each a link to the list without it."""
        chips: list[Chip] = []
        for name, blank, label in (
            ("state", None, STATE_LABELS.get(self.state or "", "").lower()),
            ("type", None, f"type {self.type}"),
            ("q", "", f"“{self.q}”"),
        ):
            if getattr(self, name):
                without: dict[str, Any] = {name: blank}
                chips.append(Chip(name, label, replace(self.first, **without).url()))
        return chips

    def cleared(self) -> str:
        return type(self)().url()
