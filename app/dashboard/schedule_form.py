"""The form of a schedule: what was typed, the definition it means, and the errors at its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.dashboard.forms import FieldForm, number_of, payload_of
from app.errors import ValidationFailed
from app.jobs.models import ScheduleRow
from app.jobs.schedules import rules
from app.jobs.schedules.definition import Definition

#: Unit of an interval → seconds; the largest that fits is chosen for a stored one.
UNITS = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
#: Field of the API, which errors name → that of the form.
FORM_NAMES = {
    "everySeconds": "every", "timeZone": "zone", "missedWithinSeconds": "within", "jitterSeconds": "jitter",
    "maxAttempts": "max_attempts", "timeoutSeconds": "timeout", "tickField": "tick_field",
    "endsAt": "ends_at", "uniqueKey": "unique_key",
}  # fmt: skip
#: What an empty form contains.
BLANK = {
    "name": "", "type": "", "payload": "{}", "rule": "cron", "cron": "", "zone": "UTC", "every": "1", "unit": "hours",
    "overlap": "skip", "missed": "one", "within": "86400", "jitter": "0", "queue": "", "priority": "", "max_attempts": "",
    "timeout": "", "tags": "", "tick_field": "", "unique_key": "", "ends_at": "",
}  # fmt: skip
#: Fields that are folded away until one of them differs from the blank form.
MORE = (
    "queue", "priority", "max_attempts", "timeout", "tags", "tick_field", "unique_key", "jitter", "within", "ends_at",
)  # fmt: skip
ENDS_RULE = "must be a date and time, such as 2027-01-31T00:00."


@dataclass
class ScheduleForm(FieldForm):
    """The fields as typed, and the errors by field of the form."""

    @property
    def shows_more(self) -> bool:
        """Whether a folded field was filled in, or has an error."""
        return any(self.errors.get(name) or self.values[name] != BLANK[name] for name in MORE)

    @property
    def is_cron(self) -> bool:
        return self.values["rule"] != "every"


def of_form(form: Mapping[str, str]) -> ScheduleForm:
    """What was typed."""
    return ScheduleForm.of(form, BLANK, FORM_NAMES)


def of_row(row: ScheduleRow) -> ScheduleForm:
    """The form that would change ``row``."""
    seconds = row.every_seconds or 3600
    unit = next(name for name, size in UNITS.items() if seconds % size == 0)
    values = {
        "name": row.name, "type": row.type, "payload": json.dumps(row.payload, ensure_ascii=False, indent=2),
        "rule": "every" if row.cron is None else "cron", "cron": row.cron or "", "zone": row.zone,
        "every": str(seconds // UNITS[unit]), "unit": unit, "overlap": row.overlap, "missed": row.missed,
        "within": str(row.missed_within_seconds), "jitter": str(row.jitter_seconds), "queue": row.queue or "",
        "priority": _text(row.priority), "max_attempts": _text(row.max_attempts), "timeout": _text(row.timeout_seconds),
        "tags": ", ".join(row.tags), "tick_field": row.tick_field or "", "unique_key": row.unique_key or "",
        "ends_at": row.ends_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if row.ends_at else "",
    }  # fmt: skip
    return ScheduleForm(values, FORM_NAMES)


def definition_of(form: ScheduleForm, *, starts_at: datetime | None = None) -> Definition:
    """The definition that the form means. Raises ValidationFailed for what can't be read at all.

    Numbers that aren't numbers stay text: the rules of schedules refuse them in their own words.
    """
    values = form.values
    tags = [tag for part in values["tags"].split(",") if (tag := part.strip())]
    return Definition(
        name=values["name"],
        type=values["type"],
        payload=payload_of(values["payload"]),
        queue=values["queue"] or None,
        priority=number_of(values["priority"]),
        max_attempts=number_of(values["max_attempts"]),
        timeout_seconds=number_of(values["timeout"]),
        tags=tags,
        unique_key=values["unique_key"] or None,
        starts_at=starts_at,
        ends_at=_instant(values["ends_at"]),
        overlap=values["overlap"],
        missed=values["missed"],
        missed_within_seconds=number_of(values["within"]) or 0,
        jitter_seconds=number_of(values["jitter"]) or 0,
        tick_field=values["tick_field"] or None,
        **rule_of(form),
    )


def rule_of(form: ScheduleForm) -> dict[str, Any]:
    """The fields of a definition that say when it runs."""
    values = form.values
    if form.is_cron:
        return {"cron": values["cron"], "zone": values["zone"] or "UTC"}
    every, size = number_of(values["every"]), UNITS.get(values["unit"], 1)
    return {"every_seconds": every * size if isinstance(every, int) else every or 0}


def when_of(form: ScheduleForm) -> Definition:
    """A definition with only the fields that say when it runs, for the preview. Raises ValidationFailed."""
    definition = Definition(name="preview", type="preview", **rule_of(form))
    errors: dict[str, list[str]] = {}
    for name, text in rules.complaints(definition):
        errors.setdefault(name, []).append(text)
    if errors:
        raise ValidationFailed(errors)
    return definition


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:g}"


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValidationFailed({"endsAt": [ENDS_RULE]}) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
