"""The verbs of a person: from which statuses each starts, and the role it needs.

lifecycle/people.py has one function per verb and builds its SQL from this table.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.jobs.statuses import CANCELLED, COMPLETED, FAILED, PENDING, PROCESSING, has_one_of


@dataclass(frozen=True, slots=True)
class Verb:
    """An action of a person on jobs."""

    name: str
    from_statuses: tuple[str, ...]
    role: str = "operator"
    is_last: bool = (
        False  # the jobs don't change any more afterwards, so there is no outcome to show
    )
    is_destructive: bool = False  # ends work that was to be done, or removes it
    is_undoable: bool = True
    needs: str = ""  # for people, where the statuses are not the whole condition

    @property
    def allowed(self) -> str:
        """The states it starts from, for people: "failed or cancelled"."""
        *others, last = self.from_statuses
        return self.needs or (f"{', '.join(others)} or {last}" if others else last)

    def starts_from(self, column: str = "status") -> str:
        """The SQL condition that the status in ``column`` is one that the verb starts from."""
        return has_one_of(self.from_statuses, column)


RETRY = Verb("retry", (FAILED, CANCELLED))
RUN = Verb("run", (PENDING,))
CANCEL = Verb("cancel", (PENDING, PROCESSING), is_destructive=True)
DELETE = Verb(
    "delete", (PENDING, COMPLETED, FAILED, CANCELLED), role="admin", is_last=True, is_destructive=True, is_undoable=False,
)  # fmt: skip
DISCARD = Verb(
    "discard", (FAILED,), is_last=True, is_destructive=True, needs="failed with an open dead letter"
)
EDIT = Verb("edit", (PENDING, FAILED, CANCELLED))

#: Name → verb, in the order in which they are listed.
VERBS = {verb.name: verb for verb in (RETRY, RUN, CANCEL, DELETE, DISCARD, EDIT)}
