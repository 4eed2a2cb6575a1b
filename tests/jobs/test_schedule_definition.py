"""Definitions of schedules: what is refused and in which words, descriptions, previews, declarations in code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from marshmallow import Schema, fields

from app.config import ConfigError
from app.errors import UnknownJobType, ValidationFailed
from app.jobs import Schedule, job, registry, schedule
from app.jobs.limits import known
from app.jobs.schedules import checks, definition, preview
from app.jobs.schedules.definition import Definition, description, payload_at

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CRON = "30 2 * * *"


class ReportPayload(Schema):
    of = fields.String(required=True)
    at = fields.String(data_key="for")


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Types and schedules of one test, in a process that has just started."""
    known.forget()
    monkeypatch.setattr(registry, "_types", dict(registry._types))
    monkeypatch.setattr(definition, "_declared", {})
    job("report", schema=ReportPayload)(lambda payload: None)


def a_definition(**changes) -> Definition:
    facts = {"name": "nightly", "type": "report", "payload": {"of": "orders"}}
    if "every_seconds" not in changes:
        facts["cron"] = CRON
    return Definition(**(facts | changes))


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"cron": None}, "cron", "give exactly one of cron and everySeconds."),
        ({"cron": CRON, "every_seconds": 60}, "cron", "give exactly one of cron and everySeconds."),
        ({"cron": "61 * * * *"}, "cron", "the minute '61' is not understood; it is 0 to 59, *, */5, 1-5 or a list of those."),
        ({"cron": "* " * 200}, "cron", "must be a string of at most 300 characters."),
        ({"zone": "Europe/Berln"}, "timeZone", "is not a time zone of the IANA database; did you mean Europe/Berlin?"),
        ({"zone": "CEST"}, "timeZone", "is not a time zone of the IANA database; offsets and abbreviations don't know when clocks change."),
        ({"every_seconds": 0}, "everySeconds", "must be a whole number from 1 to 31536000."),
        ({"every_seconds": 1.5}, "everySeconds", "must be a whole number from 1 to 31536000."),
        ({"every_seconds": 300, "jitter_seconds": 300}, "jitterSeconds", "must be less than the 300 seconds between two runs."),
        ({"cron": "0 9,10 * * MON", "jitter_seconds": 3600}, "jitterSeconds", "must be less than the 3600 seconds between two runs."),
        ({"jitter_seconds": -1}, "jitterSeconds", "must be a whole number from 0 to 86400."),
        ({"missed": "all"}, "missed", "all makes several jobs at once, which overlap 'skip' refuses; use overlap 'allow' or missed 'one'."),
        ({"missed": "some"}, "missed", "must be one of one, all, none."),
        ({"missed_within_seconds": 0}, "missedWithinSeconds", "must be a whole number from 1 to 31536000."),
        ({"overlap": "queue"}, "overlap", "must be one of skip, allow, wait, replace."),
        ({"unique_key": "a"}, "uniqueKey", "is what overlap uses; set overlap to 'allow' or leave it out."),
        ({"unique_key": "schedule:a", "overlap": "allow"}, "uniqueKey", "must not start with schedule:, which is reserved for schedules."),
        ({"ends_at": NOW}, "endsAt", "must be in the future."),
        ({"starts_at": NOW + timedelta(days=2), "ends_at": NOW + timedelta(days=1)}, "endsAt", "must be later than startsAt."),
        ({"starts_at": NOW.replace(tzinfo=None)}, "startsAt", "must be a datetime with a time zone, between 2000 and 2100."),
        ({"tick_field": "of"}, "tickField", "names a field that payload has; the tick's time would replace it."),
        ({"tick_field": ""}, "tickField", "must be the name of a field, of 1 to 100 characters without NUL."),
        ({"tick_field": "when"}, "tickField", "is not a field of this type; the fields are: for, of"),
        ({"payload": {}}, "payload.of", "Missing data for required field."),
        ({"payload": []}, "payload", 'must be an object, such as {"to": "ada@example.com"}'),
        ({"name": "-"}, "name", "must be 1 to 100 letters, digits, '.', '_', ':' or '-', the first a letter or digit."),
        ({"max_attempts": 0}, "maxAttempts", "must be a whole number from 1 to 100."),
        ({"timeout_seconds": 0}, "timeoutSeconds", "must be more than 0."),
        ({"queue": "a b"}, "queue", "must be 1 to 100 letters, digits, '.', '_', ':' or '-', the first a letter or digit."),
    ],
)  # fmt: skip
def test_refused(changes, field, text):
    with pytest.raises(ValidationFailed) as refusal:
        checks.check_alone(a_definition(**changes), now=NOW)

    assert refusal.value.errors == {field: [text]}


def test_every_wrong_field_is_named():
    with pytest.raises(ValidationFailed) as refusal:
        checks.check_alone(a_definition(cron="x", zone="x", overlap="x", payload={"of": 1}))

    assert set(refusal.value.errors) == {"cron", "timeZone", "overlap", "payload.of"}


def test_an_unknown_type_is_refused_as_for_a_job():
    with pytest.raises(UnknownJobType):
        checks.check_alone(a_definition(type="reprot"))


def test_valid_definitions():
    checks.check_alone(
        a_definition(tick_field="for", overlap="allow", missed="all", unique_key="a")
    )
    ends_soon = a_definition(every_seconds=1, ends_at=NOW + timedelta(seconds=1))
    checks.check_alone(ends_soon, now=NOW)
    checks.check_alone(a_definition(ends_at=NOW - timedelta(days=1)))


def test_the_payload_of_a_tick():
    tick = datetime(2026, 11, 26, 1, 30, tzinfo=UTC)

    assert payload_at(a_definition(tick_field="for"), tick) == {
        "of": "orders",
        "for": "2026-11-26T01:30:00.000Z",
    }
    assert payload_at(a_definition(), tick) == {"of": "orders"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"zone": "Europe/Berlin"}, "At 02:30 every day, Europe/Berlin"),
        ({"cron": "@hourly"}, "At the start of every hour, UTC"),
        ({"cron": "0 9 * * MON-FRI"}, "At 09:00 on Monday through Friday, UTC"),
        ({"every_seconds": 1}, "Every second"),
        ({"every_seconds": 90}, "Every 90 seconds"),
        ({"every_seconds": 300}, "Every 5 minutes"),
        ({"every_seconds": 7200}, "Every 2 hours"),
        ({"every_seconds": 86400}, "Every day"),
    ],
)
def test_descriptions(changes, text):
    assert description(a_definition(**changes)) == text


# ------------------------------------------------------------------------------------------ preview


def previewed(after: str, count: int = 1, **changes) -> list[tuple[str, str | None]]:
    facts = {"zone": "Europe/Berlin"} | changes
    runs = preview.next_runs(
        a_definition(**facts), after=datetime.fromisoformat(after), count=count
    )
    assert all(run.at == run.local.astimezone(UTC) for run in runs)
    return [(run.local.isoformat(), run.note) for run in runs]


@pytest.mark.parametrize(
    ("cron", "after", "local", "note"),
    [
        (CRON, "2026-03-28T12:00Z", "2026-03-29T03:00:00+02:00", "02:30 does not exist that day: the clock goes from 02:00 to 03:00"),
        (CRON, "2026-10-24T12:00Z", "2026-10-25T02:30:00+02:00", "02:30 comes twice; the first one counts"),
        (CRON, "2026-10-25T12:00Z", "2026-10-26T02:30:00+01:00", None),
        ("15,45 2 * * *", "2026-03-28T12:00Z", "2026-03-29T03:00:00+02:00", "02:15 and 02:45 do not exist that day: the clock goes from 02:00 to 03:00"),
        ("*/20 2 * * *", "2026-03-28T12:00Z", "2026-03-29T03:00:00+02:00", "02:00 to 02:40 do not exist that day: the clock goes from 02:00 to 03:00"),
        ("0 2,3 * * *", "2026-03-28T12:00Z", "2026-03-29T03:00:00+02:00", "02:00 does not exist that day: the clock goes from 02:00 to 03:00"),
        ("0 * * * *", "2026-10-25T00:30Z", "2026-10-25T02:00:00+01:00", "02:00 comes twice; both count"),
        ("0 * * * *", "2026-03-29T00:30Z", "2026-03-29T03:00:00+02:00", None),
    ],
)  # fmt: skip
def test_notes_where_the_clock_changes(cron, after, local, note):
    assert previewed(after, cron=cron) == [(local, note)]


def test_a_half_hour_that_the_clock_skips():
    assert previewed("2026-10-03T12:00Z", cron="15 2 * * *", zone="Australia/Lord_Howe") == [
        (
            "2026-10-04T02:30:00+11:00",
            "02:15 does not exist that day: the clock goes from 02:00 to 02:30",
        )
    ]


def test_a_preview_keeps_to_the_start_and_the_end():
    start, end = datetime(2026, 12, 1, 1, 30, tzinfo=UTC), datetime(2026, 12, 3, tzinfo=UTC)

    assert previewed("2026-11-01T00:00Z", 5, starts_at=start, ends_at=end) == [
        ("2026-12-01T02:30:00+01:00", None),
        ("2026-12-02T02:30:00+01:00", None),
    ]


def test_a_preview_of_an_interval():
    start = datetime(2026, 12, 1, tzinfo=UTC)

    assert previewed("2026-12-01T00:30Z", 2, every_seconds=3600, zone="UTC", starts_at=start) == [
        ("2026-12-01T01:00:00+00:00", None),
        ("2026-12-01T02:00:00+00:00", None),
    ]


def test_a_preview_of_a_line_that_comes_every_28_years_ends():
    assert len(previewed("2026-01-01T00:00Z", 100, cron="0 0 29 2 */7")) == 3


# ------------------------------------------------------------------------------------------ in code


def test_a_type_with_a_schedule():
    job("clean", schedule=Schedule(every=60, payload={"a": 1}))(lambda payload: None)

    checks.check_declared()
    assert definition.declared() == [
        Definition(name="clean", type="clean", every_seconds=60, payload={"a": 1})
    ]


def test_several_schedules_of_a_type_that_is_registered_later():
    schedule("b", "later", {"of": "eu"}, every=3600, overlap="allow")
    schedule("a", "later", cron=CRON)
    job("later")(lambda payload: None)

    checks.check_declared()
    assert [declared.name for declared in definition.declared()] == ["a", "b"]


def test_the_same_definition_twice_is_one():
    schedule("a", "report", {"of": "eu"}, every=60)
    schedule("a", "report", {"of": "eu"}, every=60)

    assert len(definition.declared()) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"every": 0}, "The schedule 'a': every: must be a whole number from 1 to 31536000."),
        ({}, "The schedule 'a': cron: give exactly one of cron and every."),
        (
            {"every": 60, "zone": "Europa/Berlin"},
            "The schedule 'a': zone: is not a time zone of the IANA database; did you mean Europe/Berlin?",
        ),
        (
            {"every": 60, "jitter_seconds": 60},
            "The schedule 'a': jitter_seconds: must be less than the 60 seconds between two runs.",
        ),
    ],
)
def test_a_declaration_is_refused_in_the_words_of_python(options, text):
    with pytest.raises(ConfigError) as refusal:
        schedule("a", "report", {"of": "eu"}, **options)

    assert str(refusal.value) == text


def test_a_name_with_two_definitions_is_refused():
    schedule("a", "report", {"of": "eu"}, every=60)

    with pytest.raises(ConfigError) as refusal:
        schedule("a", "report", {"of": "eu"}, cron=CRON)

    assert str(refusal.value) == (
        "The schedule 'a' is defined twice, differently: report (every 60 s, UTC, {'of': 'eu'})"
        " and report (30 2 * * *, UTC, {'of': 'eu'}); rename one of them."
    )


@pytest.mark.parametrize(
    ("type", "payload", "text"),
    [
        ("report", {}, "The schedule 'a': payload.of: Missing data for required field."),
        ("reprot", {}, "The schedule 'a': type: No job type is named 'reprot'; known: "),
    ],
)
def test_the_type_and_the_payload_are_checked_at_the_end(type, payload, text):
    schedule("a", type, payload, every=60)

    with pytest.raises(ConfigError) as refusal:
        checks.check_declared()

    assert str(refusal.value).startswith(text)


def test_something_else_than_a_schedule_is_refused():
    with pytest.raises(ConfigError, match=r"it is a Schedule, such as Schedule\(cron="):
        job("b", schedule="30 2 * * *")(lambda payload: None)
