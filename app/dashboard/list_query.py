"""The address of a list: its filters, and the links that change one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from flask import url_for

from app import clock
from app.dashboard import cached_reads
from app.dashboard.job_views import EMPTY, LABELS, TABS, WAITING
from app.dashboard.list_args import JobArgs, ListArgs, load
from app.dashboard.present.rows import WHEN, When
from app.dashboard.present.search import parse as parse_search
from app.jobs.listing import JobFilter, Order, Page, order_of
from app.jobs.models import PENDING
from app.security import may_search_payloads, require_payload_search

PAGE_SIZE = 50


@dataclass(frozen=True)
class Tab:
    name: str
    label: str
    view: str | None
    url: str
    is_here: bool


@dataclass(frozen=True)
class Chip:
    name: str
    label: str
    url: str


@dataclass(frozen=True)
class ListQuery:
    """What both lists share: type, search and a position."""

    type: str | None = None
    q: str = ""
    cursor: str | None = None  # contains its direction: older or newer
    #: Where the first page began when it was opened: newer rows are announced, not inserted.
    top: str | None = None

    endpoint: ClassVar[str]

    def url(self) -> str:
        """The canonical address: only what differs from the plain list."""
        facts = {name: value for name, value in asdict(self).items() if value}
        return url_for(self.endpoint, **self._named(facts))

    def _named(self, facts: dict[str, Any]) -> dict[str, Any]:
        return facts

    @property
    def first(self) -> Self:
        return replace(self, cursor=None, top=None)

    def first_page(self) -> str:
        return self.first.url()

    def older(self, page: Page[Any]) -> str | None:
        return page.next_cursor and replace(self.first, cursor=page.next_cursor).url()

    def newer(self, page: Page[Any]) -> str | None:
        # Rows above a pinned first page are announced, not linked.
        cursor = None if self.top else page.previous_cursor
        return cursor and replace(self.first, cursor=cursor).url()

    @property
    def is_pinned(self) -> bool:
        """Whether the first page keeps its start while newer rows arrive."""
        return not self.cursor

    def read(
        self, list_rows: Callable[[str | None], Page[Any]], count_newer: Callable[[str], int]
    ) -> tuple[Page[Any], int]:
        """The page this query asks for, and how many rows are newer than its pinned first page.

        ``list_rows`` takes a cursor; ``count_newer`` takes the cursor where the first page began.
        """
        page = list_rows(self.cursor or (self.top if self.is_pinned else None))
        if self.top and not page.items:
            return list_rows(None), 0
        if self.top and self.is_pinned:
            return page, count_newer(self.top)
        return page, 0

    def live_url(self, page: Page[Any] | None) -> str:
        """The address that the live region refreshes from."""
        top = self.top or (page.start_cursor if page else None)
        return replace(self, top=top if self.is_pinned and page and page.items else None).url()


@dataclass(frozen=True)
class DeadLetterQuery(ListQuery):
    endpoint: ClassVar[str] = "dashboard.dead_letters"
    is_discarded: ClassVar[bool] = False

    @classmethod
    def parse(cls, args: Mapping[str, str]) -> Self:
        return cls(**load(ListArgs(), args))

    @property
    def is_filtered(self) -> bool:
        return bool(self.type or self.q)

    def cleared(self) -> str:
        return type(self)().url()


@dataclass(frozen=True)
class DiscardedQuery(DeadLetterQuery):
    endpoint: ClassVar[str] = "dashboard.discarded"
    is_discarded: ClassVar[bool] = True


@dataclass(frozen=True)
class JobQuery(ListQuery):
    view: str | None = None
    queue: str | None = None
    tag: str | None = None
    within: str = ""
    fingerprint: str | None = None
    bulk: int | None = None
    limit: str | None = None
    limit_key: str | None = None

    endpoint: ClassVar[str] = "dashboard.jobs"
    SPANS: ClassVar[dict[str, str]] = {
        "15m": "15 min", "1h": "hour", "24h": "24 h", "7d": "7 days",
    }  # fmt: skip
    SECONDS: ClassVar[dict[str, int]] = {"15m": 900, "1h": 3600, "24h": 86400, "7d": 7 * 86400}

    @classmethod
    def parse(cls, args: Mapping[str, str]) -> Self:
        # Bookmarks from before the parameter was renamed.
        renamed = {"fingerprint" if name == "failure" else name: args[name] for name in args}
        return cls(**load(JobArgs(), renamed))

    @property
    def label(self) -> str:
        return LABELS[self.view]

    @property
    def order(self) -> Order:
        """Each view in the order of its own time."""
        return order_of(self.status)

    @property
    def status(self) -> str | None:
        """The view as the domain knows it: what waits at a limit is pending."""
        return PENDING if self.view == WAITING else self.view

    @property
    def ranges(self) -> dict[str, str]:
        """Choices for ``within``, by the time that the view is ordered by."""
        return {"": "Any time", **{name: self._range(name) for name in self.SPANS}}

    def _range(self, name: str) -> str:
        span = self.SPANS[name]
        if self.order.by == "run":
            return f"{self.when.range} within {'1 ' if span == 'hour' else ''}{span}"
        return f"{self.when.range} in the last {span}"

    @property
    def when(self) -> When:
        return WHEN[self.view]

    @property
    def refresh_seconds(self) -> int:
        return 15 if self.view in ("failed", "cancelled") else 4

    @property
    def is_one_status(self) -> bool:
        """Whether every row has the same status; processing jobs may also be stopping."""
        return self.view not in (None, "pending", "processing")

    @property
    def empty_title(self) -> str:
        return EMPTY[self.view or "pending"][0]

    @property
    def empty_hint(self) -> str:
        return EMPTY[self.view or "pending"][1]

    @property
    def is_filtered(self) -> bool:
        return bool(
            self.type
            or self.queue
            or self.tag
            or self.within
            or self.fingerprint
            or self.bulk
            or self.limit
            or self.limit_key
            or self.q
        )

    @property
    def is_pinned(self) -> bool:
        return super().is_pinned and self.view != "processing" and not self.order.is_ascending

    def filter(self, now: datetime | None = None) -> JobFilter:
        """The filter for the domain; ``now`` is what "last hour" counts back from. Raises PayloadsNotSearched."""
        search = parse_search(self.q)
        if search.payloads:
            require_payload_search()
        return JobFilter(
            status=self.status, is_waiting=self.view == WAITING or None, limit_name=self.limit, limit_key=self.limit_key, type=self.type, queue=self.queue, tag=self.tag or search.tag, fingerprint=self.fingerprint, bulk=self.bulk,
            id_part=search.id_part, error=search.error, any_payload=tuple(search.payloads), search=search.text,
            search_payloads=tuple(search.text_payloads),
            is_payload_searched=may_search_payloads(), **self._time_range(now or clock.now()),
        )  # fmt: skip

    def _time_range(self, now: datetime) -> dict[str, Any]:
        if not self.within:
            return {}
        span = timedelta(seconds=self.SECONDS[self.within])
        if self.order.by == "run":
            return {"run_to": now + span}
        return {f"{self.order.by}_from": now - span}

    def tabs(self) -> list[Tab]:
        first = self.first
        return [
            Tab(
                view or "all",
                (view or "all").capitalize(),
                view,
                replace(first, view=view).url(),
                view == self.view,
            )
            for view in TABS
            # Only where there are limits.
            if view != WAITING or view == self.view or cached_reads.limits()
        ]

    def chips(self) -> list[Chip]:
        """One per filter that narrows the view, each a link to the list without it."""
        first = self.first
        chips: list[Chip] = []
        for name, blank, label in (
            ("type", None, f"type {self.type}"),
            ("queue", None, f"queue {self.queue}"),
            ("tag", None, f"tag {self.tag}"),
            (
                "fingerprint",
                None,
                self.fingerprint and cached_reads.error_group_name(self.fingerprint),
            ),
            ("bulk", None, f"bulk action {self.bulk}"),
            ("limit", None, f"limit {self.limit}"),
            ("limit_key", None, f"key {self.limit_key}"),
            ("within", "", self.ranges[self.within].lower()),
            ("q", "", f"“{self.q}”"),
        ):
            if getattr(self, name):
                without: dict[str, Any] = {name: blank}
                chips.append(Chip(name, str(label), replace(first, **without).url()))
        return chips

    def cleared(self) -> str:
        return type(self)(view=self.view).url()

    def all_url(self, verb: str | None = None) -> str:
        """The page to act on all matching jobs; with ``verb``, the one that asks for it."""
        return url_for("dashboard.bulk_preview", **self.named(), verb=verb)

    def named(self) -> dict[str, Any]:
        """The filters as parameters of the address."""
        return self._named({name: value for name, value in asdict(self.first).items() if value})

    def _named(self, facts: dict[str, Any]) -> dict[str, Any]:
        renamed = {"view": "status", "limit_key": "limitKey"}
        return {renamed.get(name, name): value for name, value in facts.items()}
