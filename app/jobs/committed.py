"""Which rows of jobs were committed at a given moment, by the transactions that wrote them.

Timestamps can't show that: now() is when a transaction began, so what is committed after a moment may carry a time
from before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, cast, literal_column, not_, text
from sqlalchemy.orm import Session, scoped_session

#: With more recent transactions than this, only the running ones are kept. Then a row that was written inside a savepoint
#: of one of them counts as committed: savepoints have ids of their own, which no snapshot lists.
MAX_XIDS = 500

# A row stores the last 32 bits of its transaction's id. The distance to the id of the current snapshot gives the
# others, since the statement sees nothing newer.
row_xid: ColumnElement[int] = literal_column(
    "((SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint)"
    " - ((age(jobs.xmin)::bigint"
    " - (SELECT age(pg_snapshot_xmax(pg_current_snapshot())::xid)::bigint)) & 4294967295))",
    BigInteger,
)
_NOW = text("""
SELECT pg_snapshot_xmin(s)::text AS ended, pg_snapshot_xmax(s)::text AS next,
       ARRAY(SELECT pg_snapshot_xip(s)::text) AS running
FROM pg_current_snapshot() AS s
""")
_WRITTEN = re.compile(r"(\d{1,18})\.(\d{0,18})\.((?:\d{1,18},)*\d{1,18})?", re.ASCII)


@dataclass(frozen=True)
class Moment:
    """What had been committed: all transactions before ``ended`` had ended.

    With ``next`` None, ``xids`` are the later ones whose rows were committed. Otherwise they are those that were
    running, and ``next`` is the first that had not begun.
    """

    ended: int
    next: int | None
    xids: tuple[int, ...] = ()

    @property
    def is_quiet(self) -> bool:
        """Whether no transaction before ``next`` was still running."""
        return self.next == self.ended

    def listing(self, xids: list[int]) -> Moment:
        """The same moment with the recent transactions whose rows were committed, if they are at most MAX_XIDS."""
        return self if len(xids) > MAX_XIDS else Moment(self.ended, None, tuple(xids))

    def has_seen(self) -> ColumnElement[bool]:
        """Whether a row of jobs was committed then."""
        is_listed = row_xid == any_(cast(list(self.xids), ARRAY(BigInteger)))
        if self.next is None:
            return (row_xid < self.ended) | is_listed
        return (row_xid < self.next) & not_(is_listed)

    def __str__(self) -> str:
        """The text that parse() reads, for a form."""
        return f"{self.ended}.{self.next or ''}.{','.join(map(str, self.xids))}"

    @classmethod
    def parse(cls, written: str) -> Self:
        """The moment that str() wrote. Raises ValueError."""
        match = _WRITTEN.fullmatch(written)
        if match is None:
            raise ValueError("not a moment")
        xids = tuple(int(xid) for xid in (match[3] or "").split(",") if xid)
        return cls(int(match[1]), int(match[2]) if match[2] else None, xids)


def now(db: Session | scoped_session[Any]) -> Moment:
    """What is committed now."""
    row = db.execute(_NOW).one()
    return Moment(int(row.ended), int(row.next), tuple(int(xid) for xid in row.running))
