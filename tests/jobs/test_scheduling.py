"""put_schedule and delete_schedule: schedules from Python, in the caller's transaction."""

from __future__ import annotations

import pytest

from app.errors import ScheduleNotFound, UnknownJobType, ValidationFailed
from app.jobs import delete_schedule, put_schedule
from app.jobs.schedules.errors import ScheduleDefinedInCode
from app.jobs.schedules.listing import get_schedule
from tests import factories as make


def test_it_joins_the_transaction_of_the_caller(session):
    assert put_schedule(
        "report-42", "echo", {"customer": 42}, cron="0 7 * * MON", zone="Asia/Tokyo"
    )

    session.rollback()

    with pytest.raises(ScheduleNotFound):
        get_schedule(session, "report-42")


def test_it_creates_then_replaces_then_deletes(session):
    assert put_schedule("report-42", "echo", every=60)
    assert not put_schedule("report-42", "echo", every=60)
    assert not put_schedule("report-42", "echo", every=90, tags=["a"])
    session.commit()

    row = get_schedule(session, "report-42")
    assert (row.every_seconds, row.tags, row.source, row.created_by) == (90, ["a"], "api", "python")
    delete_schedule("report-42")
    session.commit()
    with pytest.raises(ScheduleNotFound):
        get_schedule(session, "report-42")


def test_errors_have_the_names_of_python(session):
    with pytest.raises(ValidationFailed) as refusal:
        put_schedule("report-42", "echo", every=0, zone="CEST", max_attempts=0, missed="all")

    assert set(refusal.value.errors) == {"every", "zone", "max_attempts", "missed"}
    with pytest.raises(ValidationFailed) as refusal:
        put_schedule("report-42", "echo")
    assert refusal.value.errors == {"cron": ["give exactly one of cron and every."]}
    with pytest.raises(UnknownJobType):
        put_schedule("report-42", "ehco", every=1)


def test_a_schedule_of_the_code_is_not_changed(session):
    make.schedule("of-code", source="code")

    with pytest.raises(ScheduleDefinedInCode):
        put_schedule("of-code", "echo", every=60)
    with pytest.raises(ScheduleDefinedInCode):
        delete_schedule("of-code")


def test_an_unknown_option_is_a_type_error(session):
    with pytest.raises(TypeError):
        put_schedule("report-42", "echo", evry=60)
