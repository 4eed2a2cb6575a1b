"""Limits, their keys, and the bodies that change them."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validates_schema

from app.api.schemas.common import about
from app.api.schemas.fields import BaseSchema, Choice, RequestSchema, Seconds, Text, Whole
from app.jobs.bounds import MAX_NAME
from app.jobs.limits import definition as rules


def _whole(high: int, rule: str, **more: Any) -> Whole:
    return Whole(1, high, error=rule, error_messages={"invalid": rule}, **more)


class RateRequestSchema(RequestSchema):
    """A rate: starts of attempts in a time, evenly spaced but for `burst` at once."""

    count = _whole(
        rules.MAX_RATE_COUNT, rules.COUNT_RULE, required=True, metadata=about("Starts.", 100)
    )
    per_seconds = Seconds(
        rules.MAX_RATE_SECONDS,
        above_zero=True,
        load_default=1.0,
        metadata=about("In how many seconds."),
    )
    burst = _whole(
        rules.MAX_BURST,
        rules.BURST_RULE,
        allow_none=True,
        metadata=about("Starts at once. Default and least: 5% of those of a second, at least 1."),
    )


class PerKeyRequestSchema(RequestSchema):
    """What holds for each key."""

    concurrency = _whole(rules.MAX_CONCURRENCY, rules.KEY_CONCURRENCY_RULE, allow_none=True)
    rate = fields.Nested(RateRequestSchema, allow_none=True)


def _concurrency() -> Whole:
    return _whole(
        rules.MAX_CONCURRENCY,
        rules.CONCURRENCY_RULE,
        allow_none=True,
        metadata=about("Jobs that run at the same time, in all. null: no bound.", 20),
    )


def _by() -> Text:
    return Text(
        longest=rules.MAX_BY,
        allow_none=True,
        metadata=about(
            "The field of the payload that has a job's key, such as `customerId` or `customer.id`."
        ),
    )


class LimitRequestSchema(RequestSchema):
    """A limit; at least one field. What is left out has no bound."""

    more: ClassVar[dict[str, Any]] = {"minProperties": 1}

    by = _by()
    concurrency = _concurrency()
    rate = fields.Nested(RateRequestSchema, allow_none=True)
    per_key = fields.Nested(PerKeyRequestSchema, allow_none=True)


class LimitChangeSchema(RequestSchema):
    """The changes of a limit; what is left out stays. null takes a bound away."""

    more: ClassVar[dict[str, Any]] = {"minProperties": 1}

    by = _by()
    concurrency = _concurrency()
    rate = fields.Nested(RateRequestSchema, allow_none=True)
    per_key = fields.Nested(PerKeyRequestSchema, allow_none=True)

    @validates_schema
    def check_not_empty(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError(
                f"must change at least one of {', '.join(str(f.data_key) for f in self.fields.values())}."
            )


class LimitKeyRequestSchema(RequestSchema):
    """A key's own number."""

    concurrency = _whole(
        rules.MAX_CONCURRENCY,
        rules.KEY_CONCURRENCY_RULE,
        required=True,
        allow_none=True,
        metadata=about("Instead of the limit's `perKey.concurrency`; null goes back to that.", 10),
    )


class LimitOfSchema(RequestSchema):
    """The limit that a job type or queue is under."""

    limit = Text(
        longest=MAX_NAME,
        required=True,
        allow_none=True,
        metadata=about("The name of a limit; null: none.", "stripe"),
    )


class KeyListQuery(BaseSchema):
    order = Choice(
        ("waiting",), load_default="waiting", metadata=about("The most waiting jobs first.")
    )
    limit = Whole(
        1, 500, from_text=True, load_default=100, metadata=about("The maximum number of items.")
    )


class RateSchema(BaseSchema):
    """A rate: starts of attempts in a time."""

    count = fields.Integer(required=True)
    per_seconds = fields.Float(required=True)
    burst = fields.Integer(required=True)


class PerKeySchema(BaseSchema):
    """What holds for each key."""

    concurrency = fields.Integer(required=True, allow_none=True)
    rate = fields.Nested(RateSchema, required=True, allow_none=True)


class NumbersSchema(BaseSchema):
    """The numbers of a limit; null: no bound."""

    concurrency = fields.Integer(required=True, allow_none=True)
    rate = fields.Nested(RateSchema, required=True, allow_none=True)
    per_key = fields.Nested(PerKeySchema, required=True)


class BoundedCountSchema(BaseSchema):
    """A count that stops at a bound."""

    count = fields.Integer(required=True)
    is_exact = fields.Boolean(required=True, metadata=about("false: the count is a lower bound."))


class MoveSchema(BaseSchema):
    """The backlog of a type or queue on its way under the limit, or out of one."""

    kind = fields.String(required=True, metadata={"enum": ["type", "queue", "limit"]})
    name = fields.String(required=True)
    done = fields.Integer(required=True, metadata=about("Jobs so far."))
    started_at = fields.DateTime(required=True)


class LimitSchema(NumbersSchema):
    """A limit, and how its jobs stand. Its numbers are those of the code or the API; `effective` are those that hold."""

    name = fields.String(required=True)
    source = fields.String(required=True, metadata={"enum": ["code", "api"]})
    by = fields.String(required=True, allow_none=True)
    override = fields.Dict(
        required=True,
        allow_none=True,
        metadata=about(
            "The numbers that an operator set, fields as above, with `by` (who) and `at`; null: none."
        ),
    )
    effective = fields.Nested(NumbersSchema, required=True)
    types = fields.List(fields.String(), required=True)
    queues = fields.List(fields.String(), required=True)
    running = fields.Integer(required=True)
    admitted = fields.Integer(
        required=True, metadata=about("Jobs that may start and have not yet.")
    )
    waiting = fields.Nested(BoundedCountSchema, required=True)
    keys_waiting = fields.Nested(BoundedCountSchema, required=True)
    oldest_wait_seconds = fields.Float(required=True, allow_none=True)
    blocked_until = fields.DateTime(
        required=True, allow_none=True, metadata=about("Until when a handler closed it (Throttle).")
    )
    is_paused = fields.Boolean(required=True)
    paused_by = fields.String(required=True, allow_none=True)
    moves = fields.List(fields.Nested(MoveSchema), required=True)


class LimitKeySchema(BaseSchema):
    """A key of a limit."""

    key = fields.String(required=True)
    running = fields.Integer(required=True)
    admitted = fields.Integer(required=True)
    waiting = fields.Nested(BoundedCountSchema, required=True)
    oldest_wait_seconds = fields.Float(required=True, allow_none=True)
    concurrency = fields.Integer(
        required=True, allow_none=True, metadata=about("Its own; null: the limit's.")
    )
    blocked_until = fields.DateTime(required=True, allow_none=True)
    is_paused = fields.Boolean(required=True)
    paused_by = fields.String(required=True, allow_none=True)


LIMIT_REQUEST = LimitRequestSchema()
LIMIT_CHANGE = LimitChangeSchema()
LIMIT_KEY_REQUEST = LimitKeyRequestSchema()
LIMIT_OF = LimitOfSchema()
KEY_LIST = KeyListQuery()
LIMIT = LimitSchema()
LIMIT_KEY = LimitKeySchema()
