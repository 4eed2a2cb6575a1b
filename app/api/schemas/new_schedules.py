"""What a request may say about a schedule: a new one, its changes, times to preview, and how to run it."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import ValidationError, validates_schema

from app.api.schemas.common import about
from app.api.schemas.fields import (
    BaseSchema,
    Choice,
    Flag,
    Instant,
    Name,
    Payload,
    RequestSchema,
    Seconds,
    Tags,
    Text,
    Whole,
)
from app.jobs.bounds import (
    DAY,
    MAX_ATTEMPTS,
    MAX_NAME,
    MAX_PRIORITY,
    MAX_TIMEOUT_SECONDS,
    MAX_UNIQUE_KEY,
    MIN_PRIORITY,
)
from app.jobs.schedules.preview import MAX_RUNS
from app.jobs.schedules.rules import (
    EVERY_RULE,
    JITTER_RULE,
    MAX_EVERY_SECONDS,
    MAX_JITTER_SECONDS,
    MAX_MISSED_WITHIN_SECONDS,
    MAX_TICK_FIELD,
    MISSED,
    MISSED_WITHIN_RULE,
    OVERLAPS,
)
from app.jobs.schedules.times import MAX_LINE

MAX_ZONE = 100

ABOUT_CRON = "Five fields: minute hour day month weekday, or @hourly, @daily, …. Exactly one of cron and everySeconds."
ABOUT_ZONE = "A zone of the IANA database, whose clock a cron line follows."


class TimesSchema(RequestSchema):
    """When a schedule runs."""

    cron = Text(longest=MAX_LINE, allow_none=True, metadata=about(ABOUT_CRON, "30 2 * * *"))
    every_seconds = Whole(
        1,
        MAX_EVERY_SECONDS,
        error=EVERY_RULE,
        allow_none=True,
        metadata=about("Runs at startsAt + n × everySeconds, whatever the clock does."),
    )
    zone = Text(
        longest=MAX_ZONE,
        data_key="timeZone",
        metadata=about(f"{ABOUT_ZONE} Default: UTC.", "Europe/Berlin"),
    )
    starts_at = Instant(
        allow_none=True, metadata=about("No run is earlier; intervals count from it. Default: now.")
    )
    ends_at = Instant(allow_none=True, metadata=about("No run is later."))


class ChangeSchema(TimesSchema):
    """The changes of a schedule; at least one field. A given cron takes the place of everySeconds, and the reverse."""

    more: ClassVar[dict[str, Any]] = {"minProperties": 1}

    type = Text(
        longest=MAX_NAME, metadata=about("A registered job type; see /api/job-types.", "echo")
    )
    payload = Payload(metadata=about("The payload of each job."))
    queue = Name(allow_none=True, metadata=about("null: the type's."))
    priority = Whole(
        MIN_PRIORITY, MAX_PRIORITY, allow_none=True, metadata=about("null: the type's.")
    )
    max_attempts = Whole(1, MAX_ATTEMPTS, allow_none=True, metadata=about("null: the type's."))
    timeout_seconds = Seconds(
        MAX_TIMEOUT_SECONDS, above_zero=True, allow_none=True, metadata=about("null: the type's.")
    )
    tags = Tags(metadata=about("Labels of each job."))
    unique_key = Text(
        longest=MAX_UNIQUE_KEY, allow_none=True, metadata=about("Only with overlap `allow`.")
    )
    overlap = Choice(
        OVERLAPS,
        metadata=about(
            "`skip`: no job while the previous one is pending or processing. `allow`: always a job."
            " `wait`: one runs, and at most one waits. `replace`: the previous one is cancelled, and the new one"
            " starts when it has ended."
        ),
    )
    missed = Choice(
        MISSED,
        metadata=about(
            "What becomes of runs that no worker was alive for: `one` job for all of them, `all` (the last 100), or `none`."
        ),
    )
    missed_within_seconds = Whole(
        1,
        MAX_MISSED_WITHIN_SECONDS,
        error=MISSED_WITHIN_RULE,
        metadata=about(f"Runs missed longer ago get no job. Default: {DAY}."),
    )
    jitter_seconds = Whole(
        0,
        MAX_JITTER_SECONDS,
        error=JITTER_RULE,
        metadata=about(
            "Jobs start up to this much later, always the same for the same run. Default: 0."
        ),
    )
    tick_field = Text(
        longest=MAX_TICK_FIELD,
        allow_none=True,
        metadata=about("The payload's field that gets the time of the run."),
    )


class ScheduleEditSchema(ChangeSchema):
    """The changes of a schedule; at least one field. A given cron takes the place of everySeconds, and the reverse."""

    @validates_schema
    def check_not_empty(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            known = ", ".join(str(field.data_key) for field in self.fields.values())
            raise ValidationError(f"must change at least one of {known}.")


class ScheduleDefinitionSchema(ChangeSchema):
    """A whole schedule: what is absent has its default. `type` and one of `cron` and `everySeconds` are required."""

    more: ClassVar[dict[str, Any]] = {}

    type = Text(
        longest=MAX_NAME,
        required=True,
        metadata=about("A registered job type; see /api/job-types.", "echo"),
    )


class ScheduleRequestSchema(ScheduleDefinitionSchema):
    """A schedule to be created. `name`, `type` and one of `cron` and `everySeconds` are required."""

    name = Name(required=True, metadata=about("Unique among schedules.", "nightly-report"))


class SchedulePreviewRequestSchema(TimesSchema):
    """Times to preview."""

    from_ = Instant(data_key="from", metadata=about("Runs later than this. Default: now."))
    count = Whole(1, MAX_RUNS, load_default=10, metadata=about("The maximum number of runs.", 10))


class ScheduleRunSchema(RequestSchema):
    """How to run a schedule now; may be left out."""

    force = Flag(
        load_default=False,
        metadata=about("Also while the previous job is pending or processing."),
    )


class PreviewQuery(BaseSchema):
    from_ = Instant(data_key="from", metadata=about("Runs later than this. Default: now."))
    count = Whole(
        1,
        MAX_RUNS,
        from_text=True,
        load_default=10,
        metadata=about("The maximum number of runs."),
    )


NEW_SCHEDULE = ScheduleRequestSchema()
SCHEDULE_DEFINITION = ScheduleDefinitionSchema()
SCHEDULE_EDIT = ScheduleEditSchema()
RUN = ScheduleRunSchema()
PREVIEW_REQUEST = SchedulePreviewRequestSchema()
PREVIEW_QUERY = PreviewQuery()
