"""The address of a list: its filters out of the query string, and the links that change one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from flask import url_for
from marshmallow import (
    EXCLUDE,
    Schema,
    ValidationError,
    fields,
    pre_load,
    validate,
    validates_schema,
)

from app import clock
from app.dashboard import cached_reads
from app.dashboard.present.rows import WHEN, When
from app.dashboard.present.search import nested_quotes
from app.dashboard.present.search import parse as parse_search
from app.errors import ValidationFailed
from app.jobs.listing import JobFilter, Order, Page, order_of
from app.jobs.models import VIEWS
from app.security import may_search_payloads, require_payload_search

PAGE_SIZE = 50
LABELS = {None: "All jobs"} | {view: f"{view.capitalize()} jobs" for view in VIEWS}
#: What an empty view means, and when it fills.
EMPTY = {
    "pending": ("Nothing is waiting.", "Every job that is due has been picked up."),
    "scheduled": (
        "Nothing is scheduled.",
        "Jobs with a delay or a nextRunAt in the future wait here.",
    ),
    "retrying": ("Nothing is retrying.", "A job whose attempt failed waits here for its next one."),
    "processing": ("Nothing is running.", "Workers are idle, or none is alive."),
    "completed": (
        "Nothing has completed yet.",
        "Finished jobs stay here until retention removes them.",
    ),
    "failed": ("No failed jobs. Good.", "A job fails for good once its attempts are used up."),
    "cancelled": ("Nothing was cancelled.", "Jobs that a person or their own handler called off."),
}


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


class _ListArgs(Schema):
    """Blank fields of a GET form count as absent; strangers such as utm_source are ignored."""

    class Meta:
        unknown = EXCLUDE

    type = fields.String(validate=validate.Length(max=200))
    q = fields.String(validate=validate.Length(max=200))
    cursor = fields.String(validate=validate.Length(max=500))
    top = fields.String(validate=validate.Length(max=500))

    @validates_schema
    def refuse_nul(self, data: Mapping[str, Any], **_: Any) -> None:
        # PostgreSQL can store no NUL, and so can't search for one.
        for name, value in data.items():
            if isinstance(value, str) and "\0" in value:
                raise ValidationError("NUL characters are not searched for.", name)

    @pre_load
    def drop_blanks(self, data: Mapping[str, str], **_: Any) -> dict[str, str]:
        return {name: value.strip() for name, value in data.items() if value.strip()}


class _JobArgs(_ListArgs):
    status = fields.String(validate=validate.OneOf(VIEWS), attribute="view")
    queue = fields.String(validate=validate.Length(max=200))
    tag = fields.String(validate=validate.Length(max=200))
    fingerprint = fields.String(
        validate=validate.Regexp(
            "^[0-9a-f]{12}$", error="must be 12 hex digits, as on the failures page."
        )
    )
    bulk = fields.Integer(strict=False, validate=validate.Range(1, 2**31))
    within = fields.String(validate=validate.OneOf(("15m", "1h", "24h", "7d")))

    @validates_schema
    def refuse_nested_quotes(self, data: Mapping[str, Any], **_: Any) -> None:
        if value := nested_quotes(data.get("q", "")):
            raise ValidationError(
                f"The value {value} holds quotes within quotes. "
                r'Write \" for a quote within a quoted value, such as error:"say \"hi\"".',
                "q",
            )


def _load(schema: Schema, args: Mapping[str, str]) -> dict[str, Any]:
    errors = schema.validate(args)
    if errors:
        raise ValidationFailed(errors)
    return dict(schema.load(args))


@dataclass(frozen=True)
class ListQuery:
    """What both lists share: type, search, and a place in the keyset."""

    type: str | None = None
    q: str = ""
    cursor: str | None = None  # knows whether it leads to older or newer rows
    #: Where the first page began when a person came: newer rows are announced, not pushed in.
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
        # Above a pinned first page there is nothing but what is announced.
        cursor = None if self.top else page.previous_cursor
        return cursor and replace(self.first, cursor=cursor).url()

    @property
    def is_pinned(self) -> bool:
        """Whether its first page stays where it began. Rows of what runs now come and go."""
        return not self.cursor

    def live_url(self, page: Page[Any] | None) -> str:
        """What the region asks for when it looks again."""
        top = self.top or (page.start_cursor if page else None)
        return replace(self, top=top if self.is_pinned and page and page.items else None).url()


@dataclass(frozen=True)
class LetterQuery(ListQuery):
    endpoint: ClassVar[str] = "dashboard.dead_letters"

    @classmethod
    def parse(cls, args: Mapping[str, str]) -> Self:
        return cls(**_load(_ListArgs(), args))

    @property
    def is_filtered(self) -> bool:
        return bool(self.type or self.q)

    def cleared(self) -> str:
        return type(self)().url()


@dataclass(frozen=True)
class JobQuery(ListQuery):
    view: str | None = None
    queue: str | None = None
    tag: str | None = None
    within: str = ""
    fingerprint: str | None = None
    bulk: int | None = None

    endpoint: ClassVar[str] = "dashboard.jobs"
    SPANS: ClassVar[dict[str, str]] = {
        "15m": "15 min", "1h": "hour", "24h": "24 h", "7d": "7 days",
    }  # fmt: skip
    SECONDS: ClassVar[dict[str, int]] = {"15m": 900, "1h": 3600, "24h": 86400, "7d": 7 * 86400}

    @classmethod
    def parse(cls, args: Mapping[str, str]) -> Self:
        # Bookmarks from before the parameter was renamed.
        renamed = {"fingerprint" if name == "failure" else name: args[name] for name in args}
        return cls(**_load(_JobArgs(), renamed))

    @property
    def label(self) -> str:
        return LABELS[self.view]

    @property
    def order(self) -> Order:
        """Each view in the order of its own time."""
        return order_of(self.view)

    @property
    def ranges(self) -> dict[str, str]:
        """What ``within`` can be, by the time that the view is ordered by."""
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
        """Whether every row would say the same word; processing ones may be stopping."""
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
            or self.q
        )

    @property
    def is_pinned(self) -> bool:
        return super().is_pinned and self.view != "processing" and not self.order.is_ascending

    def filter(self, now: datetime | None = None) -> JobFilter:
        """What it narrows to; ``now`` is the moment that "last hour" counts back from. Raises PayloadsNotSearched."""
        search = parse_search(self.q)
        if search.payloads:
            require_payload_search()
        return JobFilter(
            status=self.view, type=self.type, queue=self.queue, tag=self.tag or search.tag, fingerprint=self.fingerprint, bulk=self.bulk,
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
            for view in (None, *VIEWS)
        ]

    def chips(self) -> list[Chip]:
        """One per filter that narrows the view, each a link to the list without it."""
        first = self.first
        found: list[Chip] = []
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
            ("within", "", self.ranges[self.within].lower()),
            ("q", "", f"“{self.q}”"),
        ):
            if getattr(self, name):
                without: dict[str, Any] = {name: blank}
                found.append(Chip(name, str(label), replace(first, **without).url()))
        return found

    def cleared(self) -> str:
        return type(self)(view=self.view).url()

    def all_url(self) -> str:
        """Where everything that matches can be acted on."""
        return url_for("dashboard.bulk_preview", **self.named())

    def named(self) -> dict[str, Any]:
        """The filters as parameters of the address."""
        return self._named({name: value for name, value in asdict(self.first).items() if value})

    def _named(self, facts: dict[str, Any]) -> dict[str, Any]:
        return {("status" if name == "view" else name): value for name, value in facts.items()}
