"""Enqueueing from Python: options are checked before anything is written, many jobs cost few statements."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema
from marshmallow import fields as schema_fields
from sqlalchemy import event, func, select

from app.broker.keys import Keys
from app.errors import UnknownJobType, ValidationFailed
from app.extensions import db
from app.jobs import NewJob, enqueue, enqueue_and_commit, enqueue_many
from app.jobs.enqueueing import ROWS_PER_STATEMENT, EnqueueOptions
from app.jobs.models import Job, Pause
from app.jobs.testing import temporary_types

SOON = datetime.now(UTC) + timedelta(hours=1)


def stored() -> int:
    return db.session.scalar(select(func.count()).select_from(Job)) or 0


def test_every_option_reaches_the_row(session: Any) -> None:
    id = enqueue(
        "echo", {"a": 1}, queue="mail", priority=-5, delay_seconds=3600, max_attempts=7,
        timeout_seconds=1.5, expires_at=SOON + timedelta(days=1), unique_key="k", tags=["x"],
    )  # fmt: skip
    session.commit()
    job = session.get(Job, id)
    assert (job.queue, job.priority, job.max_attempts) == ("mail", -5, 7)
    assert (job.timeout_seconds, job.unique_key, list(job.tags)) == (1.5, "k", ["x"])
    assert job.run_at > datetime.now(UTC) + timedelta(minutes=59)


def test_the_typed_options_are_the_fields_of_a_new_job() -> None:
    given_otherwise = {"type", "payload", "by", "limit_name"}
    assert {f.name for f in fields(NewJob)} - given_otherwise == set(EnqueueOptions.__annotations__)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"queue": "no spaces"}, "queue"),
        ({"queue": ""}, "queue"),
        ({"queue": 7}, "queue"),
        ({"priority": 101}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"priority": True}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 101}, "max_attempts"),
        ({"delay_seconds": -1}, "delay_seconds"),
        ({"delay_seconds": float("nan")}, "delay_seconds"),
        ({"delay_seconds": float("inf")}, "delay_seconds"),
        ({"delay_seconds": "5"}, "delay_seconds"),
        ({"delay_seconds": 5, "run_at": SOON}, "delay_seconds"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"run_at": datetime(2030, 1, 1)}, "run_at"),  # noqa: DTZ001
        ({"run_at": "2030-01-01"}, "run_at"),
        ({"expires_at": datetime(1999, 1, 1, tzinfo=UTC)}, "expires_at"),
        ({"unique_key": ""}, "unique_key"),
        ({"unique_key": "x" * 201}, "unique_key"),
        ({"unique_key": "a\0b"}, "unique_key"),
        ({"unique_key": "\ud800"}, "unique_key"),
        ({"tags": "one"}, "tags"),
        ({"tags": ["a", "a"]}, "tags"),
        ({"tags": ["x" * 65]}, "tags"),
        ({"tags": [str(n) for n in range(21)]}, "tags"),
        ({"tags": [7]}, "tags"),
    ],
)  # fmt: skip
def test_an_option_out_of_bounds_is_named_and_the_transaction_goes_on(
    session: Any, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        enqueue("echo", {}, **options)
    assert list(refused.value.errors or {}) == [field]
    enqueue("echo", {})
    session.commit()
    assert stored() == 1


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"at": datetime.now(UTC)}, "payload"),
        ({"n": float("nan")}, "payload"),
        ({"a": {"b": "x\0y"}}, "payload.a.b"),
        ({"a": ["ok", "\ud800"]}, "payload.a.1"),
        ({"a": {"bad\0key": 1}}, "payload.a"),
        ([1, 2], "payload"),
        ("text", "payload"),
    ],
)
def test_a_payload_that_cannot_be_stored_is_named(session: Any, payload: Any, path: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        enqueue("echo", payload)
    assert list(refused.value.errors or {}) == [path]
    assert stored() == 0


def test_a_payload_that_refers_to_itself_or_nests_too_deep_is_refused(session: Any) -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    deep: dict[str, Any] = {}
    for _ in range(150):
        deep = {"in": deep}
    for payload in (loop, deep):
        with pytest.raises(ValidationFailed):
            enqueue("echo", payload)
    assert stored() == 0


def test_text_that_only_looks_like_an_escape_is_kept(session: Any) -> None:
    id = enqueue("echo", {"path": r"C:\u0000 \ud800"})
    session.commit()
    assert session.get(Job, id).payload == {"path": r"C:\u0000 \ud800"}


def test_the_error_about_an_unknown_option_suggests_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"no option 'delay_secs'; did you mean 'delay_seconds'"):
        enqueue("echo", {}, delay_secs=5)  # type: ignore[call-arg]


def test_an_unknown_type_is_refused(session: Any) -> None:
    with pytest.raises(UnknownJobType):
        enqueue("nope", {})


def test_a_job_is_committed_and_published_whatever_the_session_does(
    session: Any, redis: Any
) -> None:
    session.add(Pause(kind="queue", name="mail", paused_by="test"))
    id = enqueue_and_commit("echo", {"a": 1}, tags=["x"])
    session.rollback()

    job = session.get(Job, id)
    assert (job.payload, list(job.tags)) == ({"a": 1}, ["x"])
    assert redis.zscore(Keys().ready("default"), id.hex) is not None
    assert session.scalar(select(func.count()).select_from(Pause)) == 0


def test_a_job_with_a_live_unique_key_is_not_enqueued_again(session: Any) -> None:
    first = enqueue_and_commit("echo", unique_key="k")

    assert enqueue_and_commit("echo", unique_key="k") == first
    assert stored() == 1


def test_what_enqueue_refuses_enqueue_and_commit_refuses(session: Any) -> None:
    with pytest.raises(ValidationFailed) as refused:
        enqueue_and_commit("echo", priority=101)
    assert set(refused.value.errors or {}) == {"priority"}
    with pytest.raises(TypeError, match="did you mean 'priority'"):
        enqueue_and_commit("echo", priorty=1)  # type: ignore[call-arg]
    with pytest.raises(UnknownJobType):
        enqueue_and_commit("nobody-knows-this")
    assert stored() == 0


def test_many_are_stored_in_order_and_published_after_the_commit(session: Any, redis: Any) -> None:
    ids = enqueue_many(NewJob("echo", {"n": n}) for n in range(3))
    assert session.scalars(select(Job.payload).where(Job.id.in_(ids)).order_by(Job.id)).all() == [
        {"n": 0}, {"n": 1}, {"n": 2},
    ]  # fmt: skip
    keys_before = redis.keys("*ready*")
    session.commit()
    assert (keys_before, len(redis.keys("*ready*"))) == ([], 1)


def test_many_are_undone_by_a_rollback(session: Any) -> None:
    enqueue_many([NewJob("echo"), NewJob("echo")])
    session.rollback()
    assert stored() == 0


def test_many_cost_one_statement(session: Any) -> None:
    statements: list[str] = []

    def count(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(db.engine, "before_cursor_execute", count)
    try:
        enqueue_many(NewJob("echo", {"n": n}) for n in range(ROWS_PER_STATEMENT))
    finally:
        event.remove(db.engine, "before_cursor_execute", count)
    assert len([s for s in statements if "insert_jobs_2" in s]) == 1
    assert stored() == ROWS_PER_STATEMENT


def test_many_are_all_or_none_and_every_bad_one_is_named(session: Any) -> None:
    with pytest.raises(ValidationFailed) as refused:
        enqueue_many([
            NewJob("echo"), NewJob("echo", priority=500), NewJob("nope"),
            NewJob("echo", {"a": "\0"}),
        ])  # fmt: skip
    assert list(refused.value.errors or {}) == [
        "jobs.1.priority", "jobs.2.type", "jobs.3.payload.a",
    ]  # fmt: skip
    assert "jobs.1.priority: must be a whole number from -100 to 100." in str(refused.value)
    assert "jobs.2.type: No job type is named 'nope'" in str(refused.value)
    assert stored() == 0


def test_many_with_a_live_unique_key_return_the_live_job(session: Any) -> None:
    first = enqueue("echo", unique_key="k")
    assert enqueue_many([NewJob("echo", unique_key="k"), NewJob("echo")])[0] == first
    assert stored() == 2


def test_enqueueing_no_jobs_is_no_error(session: Any) -> None:
    assert enqueue_many([]) == []


@pytest.fixture
def strict_type() -> Iterator[str]:
    class Order(Schema):
        order = schema_fields.Integer(required=True)

    with temporary_types() as job:
        job("strict", schema=Order)(lambda payload: None)
        yield "strict"


def test_a_payload_that_does_not_fit_its_schema_names_the_field(
    session: Any, strict_type: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        enqueue_many([NewJob(strict_type, {"order": 1}), NewJob(strict_type, {"ordr": 1})])
    assert set(refused.value.errors or {}) == {"jobs.1.payload.order", "jobs.1.payload.ordr"}


@pytest.mark.slow
def test_a_type_checker_sees_a_misspelled_option(tmp_path: Path) -> None:
    """What people's editors see: mypy on their code."""
    file = tmp_path / "shop.py"
    file.write_text(
        "from app.jobs import enqueue\n"
        'enqueue("echo", {}, delay_seconds=5)\n'
        'enqueue("echo", {}, delay_secs=5)\n'
        'enqueue("echo", {}, priority="high")\n'
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", root / "pyproject.toml", file],
        cwd=root, capture_output=True, text=True, timeout=55,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if ": error:" in line and "shop.py" in line]
    assert len(errors) == 2, done.stdout + done.stderr
    assert 'Unexpected keyword argument "delay_secs"' in errors[0]
    assert 'incompatible type "str"' in errors[1]


def test_what_handlers_import_is_what_the_package_offers() -> None:
    source = (Path(__file__).parents[2] / "app/jobs/__init__.py").read_text()
    names = {
        a.name
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.ImportFrom)
        for a in n.names
    }
    from app import jobs

    assert names - {"annotations"} == set(jobs.__all__)
