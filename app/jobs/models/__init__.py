"""The tables, for reading. Only lifecycle/ writes jobs.

CHECKs and triggers are in the migrations; the comments say who changes a column. Some tables have
a model only for the comparison with the migrations.
"""

from app.jobs.models.failures import ErrorGroupHour, ErrorGroupRow
from app.jobs.models.history import DeadLetter, DeadLetterChange, JobAttempt, JobKey, JobLogLine
from app.jobs.models.job import (
    UNIQUE_KEY_IS_LIVE,
    Job,
)
from app.jobs.models.limits import LimitAttachment, LimitKey, LimitMove, LimitRow
from app.jobs.models.people import (
    ApiToken,
    AuditEvent,
    BulkAction,
    BulkItem,
    Pause,
    PersonSession,
)
from app.jobs.models.schedules import ScheduleRow, ScheduleTick
from app.jobs.models.statistics import JobCounter, JobMinute, JobSeries, JobWaiting
from app.jobs.models.workers import UnknownType, WorkerRow
from app.jobs.statuses import (
    CANCELLED,
    COMPLETED,
    FAILED,
    FINAL,
    PENDING,
    PROCESSING,
    STATUSES,
    VIEWS,
)

__all__ = [
    "CANCELLED",
    "COMPLETED",
    "FAILED",
    "FINAL",
    "PENDING",
    "PROCESSING",
    "STATUSES",
    "UNIQUE_KEY_IS_LIVE",
    "VIEWS",
    "ApiToken",
    "AuditEvent",
    "BulkAction",
    "BulkItem",
    "DeadLetter",
    "DeadLetterChange",
    "ErrorGroupHour",
    "ErrorGroupRow",
    "Job",
    "JobAttempt",
    "JobCounter",
    "JobKey",
    "JobLogLine",
    "JobMinute",
    "JobSeries",
    "JobWaiting",
    "LimitAttachment",
    "LimitKey",
    "LimitMove",
    "LimitRow",
    "Pause",
    "PersonSession",
    "ScheduleRow",
    "ScheduleTick",
    "UnknownType",
    "WorkerRow",
]
