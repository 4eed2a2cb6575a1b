"""A schedule, its ticks, and its next runs."""

from __future__ import annotations

from marshmallow import fields

from app.api.schemas.common import about
from app.api.schemas.fields import BaseSchema, Choice, Text
from app.api.schemas.masked_fields import MaskedObject
from app.api.schemas.new_schedules import ABOUT_CRON, ABOUT_ZONE
from app.api.schemas.queries import PageQuery
from app.jobs.bounds import MAX_NAME, MAX_SEARCH
from app.jobs.models import ScheduleTick
from app.jobs.schedules import rules
from app.jobs.schedules.history import LATE_SECONDS, TROUBLE_HOURS
from app.jobs.schedules.listing import MISSED, STATES

SOURCES = ("code", "api")


class ScheduleListQuery(PageQuery):
    state = Choice(
        (*STATES, MISSED),
        metadata=about(
            f"A state, or `missed`: a run was missed or failed in the last {TROUBLE_HOURS} hours."
        ),
    )
    type = Text(longest=MAX_NAME)
    source = Choice(SOURCES)
    search = Text(longest=MAX_SEARCH, metadata=about("Text in name or type, in any case."))


class LastScheduleTickSchema(BaseSchema):
    """The last tick of a schedule: a time at which it was to run, and what became of it."""

    tick_at = fields.DateTime(required=True)
    outcome = fields.String(required=True, metadata={"enum": list(ScheduleTick.OUTCOMES)})
    job_id = fields.UUID(
        required=True,
        allow_none=True,
        metadata=about("The job; if it was skipped, the job that was still running."),
    )
    count = fields.Integer(
        required=True,
        metadata=about("missed, paused: how many ticks, from tickAt to lastAt. Otherwise 1."),
    )
    lag_ms = fields.Integer(
        required=True,
        allow_none=True,
        metadata=about("How late it was; null unless it was its time that started it."),
    )


class ScheduleTickSchema(LastScheduleTickSchema):
    """A time at which a schedule was to run, and what became of it."""

    last_at = fields.DateTime(
        required=True, allow_none=True, metadata=about("missed, paused: the last of them.")
    )
    note = fields.String(required=True, allow_none=True)
    job_status = fields.String(
        required=True,
        allow_none=True,
        metadata=about("The job's status, or `scheduled` or `retrying`; null once it is deleted."),
    )
    job_seconds = fields.Float(
        required=True,
        allow_none=True,
        metadata=about("How long the job's last attempt ran, once it has finished."),
    )


class ScheduleSchema(BaseSchema):
    """A schedule creates jobs of one type at set times."""

    name = fields.String(required=True)
    source = fields.String(
        required=True,
        metadata={
            "enum": list(SOURCES),
            **about("`code`: declared by workers; it can be paused, resumed and run, not changed."),
        },
    )
    type = fields.String(required=True)
    payload = MaskedObject(required=True)
    queue = fields.String(required=True, allow_none=True, metadata=about("null: the type's."))
    priority = fields.Integer(required=True, allow_none=True, metadata=about("null: the type's."))
    max_attempts = fields.Integer(required=True, allow_none=True)
    timeout_seconds = fields.Float(required=True, allow_none=True)
    tags = fields.List(fields.String(), required=True)
    unique_key = fields.String(required=True, allow_none=True)
    cron = fields.String(required=True, allow_none=True, metadata=about(ABOUT_CRON, "30 2 * * *"))
    every_seconds = fields.Integer(required=True, allow_none=True)
    zone = fields.String(
        required=True, data_key="timeZone", metadata=about(ABOUT_ZONE, "Europe/Berlin")
    )
    starts_at = fields.DateTime(required=True)
    ends_at = fields.DateTime(required=True, allow_none=True)
    overlap = fields.String(required=True, metadata=about("More may be added.", "skip"))
    missed = fields.String(required=True, metadata={"enum": list(rules.MISSED)})
    missed_within_seconds = fields.Integer(required=True)
    jitter_seconds = fields.Integer(required=True)
    tick_field = fields.String(required=True, allow_none=True)
    description = fields.String(
        required=True,
        metadata=about("When it runs, in words.", "At 02:30 every day, Europe/Berlin"),
    )
    state = fields.String(
        required=True,
        metadata={
            "enum": list(STATES),
            **about(
                f"`late`: its run is overdue by more than {LATE_SECONDS} seconds. `retired`: no live worker declares it. `ended`: no run follows."
            ),
        },
    )
    next_run_at = fields.DateTime(
        required=True, allow_none=True, metadata=about("null unless active or late.")
    )
    last_tick = fields.Nested(LastScheduleTickSchema(), required=True, allow_none=True)
    paused_at = fields.DateTime(required=True, allow_none=True)
    paused_by = fields.String(required=True, allow_none=True)
    created_by = fields.String(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)


class ScheduledRunSchema(BaseSchema):
    """A future run."""

    at = fields.DateTime(required=True)
    local = fields.String(
        required=True,
        metadata=about("What the zone's clock shows.", "2026-03-29T03:00:00+02:00"),
    )
    note = fields.String(
        required=True,
        allow_none=True,
        metadata=about(
            "Where the clock changes: why this run is at another time than the line says.",
            "02:30 does not exist that day: the clock goes from 02:00 to 03:00",
        ),
    )


class SchedulePreviewSchema(BaseSchema):
    """The next runs."""

    description = fields.String(required=True)
    runs = fields.List(fields.Nested(ScheduledRunSchema()), required=True)


SCHEDULE = ScheduleSchema()
SCHEDULE_LIST = ScheduleListQuery()
TICK = ScheduleTickSchema()
TICK_LIST = PageQuery()
PREVIEW = SchedulePreviewSchema()
