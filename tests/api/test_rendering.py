"""The quick dump is marshmallow's dump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from uuid import uuid4

import pytest

from app.api.http.response import dumper, iso
from app.api.schemas.dead_letters import DEAD_LETTER
from app.api.schemas.job_types import JOB_TYPE
from app.api.schemas.jobs import JOB, STATS
from app.api.schemas.queues import QUEUE
from tests import factories


@pytest.mark.parametrize("view", factories.BY_VIEW)
def test_a_job_is_rendered_as_its_schema_renders_it(app, view):
    with app.app_context():
        job = factories.BY_VIEW[view](tags=["a"], payload={"x": 1})
        dumped, ours = JOB.dump(job), dumper(JOB)(job)
        assert list(dumped) == list(ours)
        for name, value in dumped.items():
            if name.endswith("At") and value is not None:
                assert datetime.fromisoformat(value).replace(
                    microsecond=0
                ) == datetime.fromisoformat(ours[name]).replace(microsecond=0)
            else:
                assert ours[name] == value, name


def test_dicts_and_objects_are_dumped_alike():
    counts = dict.fromkeys(STATS.fields, 3)
    assert dumper(STATS)(counts) == dumper(STATS)(SimpleNamespace(**counts)) == STATS.dump(counts)


def test_nested_schemas_and_none():
    facts = dict.fromkeys(JOB_TYPE.fields) | {"counts": dict.fromkeys(STATS.fields, 1)}
    dumped = dumper(JOB_TYPE)(facts)
    assert dumped["counts"] == dict.fromkeys(STATS.fields, 1)
    assert dumped["maxAttempts"] is None


@pytest.mark.parametrize("shape", [DEAD_LETTER, QUEUE])
def test_names_are_camel_case(shape):
    assert all("_" not in str(field.data_key) for field in shape.fields.values())


def test_times_are_utc_with_three_digits_cut_not_rounded():
    assert iso(datetime(2026, 5, 4, 10, tzinfo=UTC)) == "2026-05-04T10:00:00.000Z"
    east = timezone(timedelta(hours=2))
    assert iso(datetime(2026, 5, 4, 12, 0, 0, 999_999, tzinfo=east)) == "2026-05-04T10:00:00.999Z"
    assert iso(None) is None
    assert str(uuid4())
