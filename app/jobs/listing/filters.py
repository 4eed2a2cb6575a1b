"""What a list of jobs can be filtered by, as conditions and as the index to walk."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    Text,
    cast,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.jobs.holds import AT_LIMIT
from app.jobs.listing.id_ranges import FIRST_ID, LAST_ID, first_id, id_prefix_range
from app.jobs.listing.walk import Walk
from app.jobs.models import PENDING, PROCESSING, VIEWS, BulkItem, Job
from app.json_values import is_storable

#: Status or view → which jobs are in ix_jobs_<it>, for those that have an index by id. In the same
#: words as the model: the planner uses a partial index only if it recognizes its condition.
OWN_INDEX = {
    view: literal_column(str(index.dialect_options["postgresql"]["where"]), Boolean)
    for view in VIEWS
    for index in Job.__table__.indexes  # type: ignore[attr-defined]
    if index.name == f"ix_jobs_{view}"
}
IS_AHEAD = (Job.status == PENDING) & (Job.run_at > func.now())
#: In the same words as ix_jobs_at_limit.
IS_AT_LIMIT = literal_column(f"jobs.hold = {AT_LIMIT}", Boolean)
_ID_PART = re.compile(r"[0-9a-f]{1,32}")
#: The digits of an id, and how many of its last ones are in an index.
ID_DIGITS, END_DIGITS = 32, 8
_UUID_LIKE = re.compile(r"[0-9a-f]{8}[0-9a-f-]*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """What the jobs of a list have in common; a field that is None does not filter."""

    #: A status, or a view of pending: scheduled (never tried, not due), retrying (tried before).
    status: str | None = None
    type: str | None = None
    queue: str | None = None
    tag: str | None = None  # has this tag
    created_from: datetime | None = None  # at or after; by the instant in the id (milliseconds)
    created_to: datetime | None = None  # before
    finished_from: datetime | None = None  # at or after
    finished_to: datetime | None = None  # before
    run_from: datetime | None = None  # of pending jobs: when they run next, at or after
    run_to: datetime | None = None  # before
    #: The first hex digits of the id, dashes ignored, or at least its last 8; anything else matches nothing.
    id_prefix: str | None = None
    id_part: str | None = None  # the start or the end of the id, spelled like id_prefix
    error: str | None = None  # in last_error, whatever the case
    payload: dict[str, Any] | None = None  # contained in the payload, as jsonb @>
    any_payload: tuple[dict[str, Any], ...] = ()  # one of them contained; empty: no filter
    fingerprint: str | None = None  # of this error group
    limit_name: str | None = None  # under the limit of this name
    limit_key: str | None = None  # with this key at its limit
    is_waiting: bool | None = None  # True: due, and waiting at a limit (so pending)
    bulk: int | None = None  # changed by the bulk action of this number
    #: Free text in type, unique key, tag, error or payload, whatever the case; 8 hex digits and
    #: more are also searched as the start or the end of an id.
    search: str | None = None
    #: What ``search`` means as well: one of them contained in the payload.
    search_payloads: tuple[dict[str, Any], ...] = ()
    #: Whether ``search`` looks at payloads: not for people who may not read them, since matches
    #: would show what is in them.
    is_payload_searched: bool = True

    def __post_init__(self) -> None:
        if self.status is not None and self.status not in VIEWS:
            raise ValueError(f"status is one of {', '.join(VIEWS)}, not {self.status!r}")

    @property
    def is_countable(self) -> bool:
        """Whether the counters (by queue, type and status) know how many jobs match."""
        plain = JobFilter(status=self.stored_status, type=self.type, queue=self.queue)
        return replace(self, is_payload_searched=True) == plain

    @property
    def stored_status(self) -> str | None:
        """The status as stored in the row."""
        return PENDING if self.status in ("scheduled", "retrying") else self.status

    @property
    def at_limit(self) -> ColumnElement[bool] | None:
        """What ix_jobs_at_limit has of the jobs that wait at a limit; None unless only they match."""
        if not self.is_waiting:
            return None
        if self.limit_name is None:
            return IS_AT_LIMIT
        of_limit = IS_AT_LIMIT & (Job.limit_name == self.limit_name)
        return of_limit if self.limit_key is None else of_limit & (Job.limit_key == self.limit_key)

    @property
    def can_match(self) -> bool:
        """False for values that no row can have and PostgreSQL would refuse to compare."""
        return is_storable(vars(self)) and self.id_range()[0] <= self.id_range()[1]

    def normalized(self) -> JobFilter:
        """The same filter, without blanks around the search; what waits at a limit is pending."""
        status = self.status or (PENDING if self.is_waiting else None)
        return replace(self, search=(self.search or "").strip() or None, status=status)

    @property
    def id_digits(self) -> str | None:
        """What is searched as the start or the end of an id, if anything."""
        if self.id_part is not None:
            return self.id_part
        return self.search if self.search is not None and looks_like_id(self.search) else None

    def id_range(self) -> tuple[UUID, UUID]:
        """The smallest and the largest id that created_from, created_to and id_prefix allow."""
        low, high = FIRST_ID, LAST_ID
        if self.created_from is not None:
            low = max(low, first_id(self.created_from))
        if self.created_to is not None:
            first_after = first_id(self.created_to)
            high = min(high, UUID(int=max(first_after.int - 1, 0)))
        if self.id_prefix is not None and not looks_like_id(self.id_prefix):
            first, last = id_prefix_range(self.id_prefix)
            low, high = max(low, first), min(high, last)
        return low, high


def drivers(filter: JobFilter) -> list[str]:
    """The indexes that a list by this filter can walk: one per field that has one, or else the id's."""
    if filter.fingerprint is not None:
        return ["fingerprint"]  # the narrowest one
    names = []
    if _own_index(filter) is not None:
        names.append("status")
    if filter.type is not None:
        names.append("type")
    if filter.queue is not None:
        names.append("queue")
    return names or ["id"]


def index_to_walk(filter: JobFilter, driver: str) -> Walk:
    """The walk over one index, ``driver`` one of drivers(filter), with everything else as conditions."""
    low, high = filter.id_range()
    others = conditions(filter)
    plan = Walk(key=(Job.id,), floor=(low,), ceiling=(high,))  # jobs_pkey
    if driver == "fingerprint":  # ix_jobs_fingerprint
        has_fingerprint = Job.fingerprint.is_not(None)
        plan = replace(
            plan, prefix=((Job.fingerprint, filter.fingerprint),), driver=has_fingerprint
        )
        del others["fingerprint"]
    elif driver == "type":  # ix_jobs_type
        plan = replace(plan, prefix=((Job.type, filter.type),))
        del others["type"]
    elif driver == "queue":  # ix_jobs_queue
        plan = replace(plan, prefix=((Job.queue, filter.queue),))
        del others["queue"]
    elif driver == "status":  # ix_jobs_pending, ix_jobs_processing, ix_jobs_failed …
        plan = replace(plan, driver=_own_index(filter))
        del others["status"]
        if filter.status in OWN_INDEX:
            others.pop("view", None)
    return replace(plan, conditions=tuple(others.values()))


def _own_index(filter: JobFilter) -> ColumnElement[bool] | None:
    # Without one, the primary key is used: nearly every row has that status.
    own = OWN_INDEX.get(filter.status or "")
    return OWN_INDEX.get(filter.stored_status or "") if own is None else own


def conditions(filter: JobFilter) -> dict[str, ColumnElement[bool]]:
    """What must be true of a job to match, by field; without the range of ids."""
    wanted: dict[str, ColumnElement[bool]] = {}
    if filter.stored_status is not None:
        wanted["status"] = Job.status == filter.stored_status
    if filter.status == "scheduled":
        wanted["view"] = (Job.attempts == 0) & (Job.run_at > func.now())
    if filter.status == "retrying":
        wanted["view"] = Job.attempts > 0
    if filter.type is not None:
        wanted["type"] = Job.type == filter.type
    if filter.queue is not None:
        wanted["queue"] = Job.queue == filter.queue
    if filter.tag is not None:
        wanted["tag"] = has_tag(filter.tag)
    if filter.error is not None:
        wanted["error"] = has_text(filter.error, Job.last_error)
    if filter.fingerprint is not None:
        wanted["fingerprint"] = Job.fingerprint == filter.fingerprint
    if filter.limit_name is not None:
        wanted["limit_name"] = Job.limit_name == filter.limit_name
    if filter.limit_key is not None:
        wanted["limit_key"] = Job.limit_key == filter.limit_key
    if filter.is_waiting:
        wanted["is_waiting"] = IS_AT_LIMIT
    if filter.bulk is not None:
        wanted["bulk"] = Job.id.in_(jobs_of_bulk(filter.bulk))
    if filter.payload is not None:
        wanted["payload"] = Job.payload.contains(literal(filter.payload, JSONB))
    if filter.any_payload:
        wanted["any_payload"] = _contains_any(filter.any_payload)
    if filter.id_prefix is not None and looks_like_id(filter.id_prefix):
        wanted["id_prefix"] = is_part_of_id(filter.id_prefix, Job.id)
    for name, column in (("finished", Job.finished_at), ("run", Job.run_at)):
        first, end = getattr(filter, f"{name}_from"), getattr(filter, f"{name}_to")
        if first is not None:
            wanted[f"{name}_from"] = column >= first
        if end is not None:
            wanted[f"{name}_to"] = column < end
    if filter.id_part is not None:
        wanted["id_part"] = is_part_of_id(filter.id_part, Job.id)
    if filter.search is not None:
        columns = [Job.type, Job.unique_key, Job.last_error, func.array_to_string(Job.tags, "\n")]
        payload = Job.payload if filter.is_payload_searched else None
        wanted["search"] = matches_search(filter.search, Job.id, payload, *columns)
        if filter.is_payload_searched and filter.search_payloads:
            wanted["search"] |= _contains_any(filter.search_payloads)
    return wanted


def matches_search(words: str, id: Any, payload: Any | None, *columns: Any) -> ColumnElement[bool]:
    """Whether ``words`` are in a column of text, in the payload (unless None) or in the id."""
    if payload is None:
        is_match = has_text(words, *columns)
    else:
        is_match = has_text(words, *columns, cast(payload, Text))
        # JSON escapes some characters in text: people see \ and PostgreSQL stores \\.
        if (escaped := json.dumps(words, ensure_ascii=False)[1:-1]) != words:
            is_match |= has_text(escaped, cast(payload, Text))
    return is_match | is_part_of_id(words, id) if looks_like_id(words) else is_match


def is_part_of_id(part: str, id: Any) -> ColumnElement[bool]:
    """Whether an id starts or ends with these digits; dashes are ignored."""
    digits = part.replace("-", "").lower()
    if not _ID_PART.fullmatch(digits):
        return false()
    starts_so = id.between(*id_prefix_range(digits))  # jobs_pkey, uq_dead_letters_open
    if len(digits) == ID_DIGITS:
        return starts_so
    ends_so = func.right(func.replace(cast(id, Text), "-", ""), len(digits)) == digits
    if len(digits) >= END_DIGITS:  # ix_jobs_id_end, ix_dead_letters_id_end
        ends_so &= func.right(cast(id, Text), END_DIGITS) == digits[-END_DIGITS:]
        if (
            id is Job.id
        ):  # ix_jobs_id_end is of the jobs that don't run, ix_jobs_processing of the others
            ends_so = (ends_so & (Job.status != PROCESSING)) | (
                ends_so & (Job.status == PROCESSING)
            )
    return starts_so | ends_so


def jobs_of_bulk(number: int) -> Select[Any]:
    """The ids of the jobs that a bulk action changed; from bulk_items_pkey."""
    return select(BulkItem.job_id).where(BulkItem.bulk_id == number, BulkItem.result == "done")


def _contains_any(payloads: tuple[dict[str, Any], ...]) -> ColumnElement[bool]:
    return or_(*(Job.payload.contains(literal(payload, JSONB)) for payload in payloads))


def has_tag(tag: str) -> ColumnElement[bool]:
    """Jobs with this tag; from ix_jobs_tags."""
    return Job.tags.contains([tag]) & literal_column("jobs.tags <> '{}'")


def has_text(words: str, *columns: Any) -> ColumnElement[bool]:
    """``words`` in one of the columns (NULL or text), whatever the case."""
    # Joined: one comparison costs half as much as five.
    return func.concat_ws("\n", *columns).icontains(words, autoescape=True)


def looks_like_id(words: str) -> bool:
    """Whether a search may mean an id: eight or more hex digits, with dashes anywhere after them."""
    return _UUID_LIKE.fullmatch(words) is not None
