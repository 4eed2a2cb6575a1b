"""What an operator types."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import text

from tests.factories import attempt, failed_job, log_line, pending_job


@pytest.fixture
def flask(app, session):
    """Runs a command: ``flask("counters", "check") -> (exit code, output)``."""

    def run(*args: str) -> tuple[int, str]:
        result = app.test_cli_runner().invoke(args=args)
        return result.exit_code, result.output

    return run


def test_counters_check_of_a_sound_table(flask):
    pending_job()
    assert flask("counters", "check") == (0, "Counters are exact.\n")


def test_counters_check_names_the_drift_and_fix_repairs_it(flask, session):
    pending_job()
    session.execute(text("INSERT INTO job_counter_deltas VALUES ('mail', 'echo', 'failed', 2)"))
    session.commit()
    code, output = flask("counters", "check")
    assert code == 1
    assert "queue mail, type echo, failed: counted 2, there are 0" in output
    assert "flask counters check --fix" in output
    code, output = flask("counters", "check", "--fix")
    assert (code, output.splitlines()[-1]) == (0, "Fixed 1 counters.")
    assert flask("counters", "check") == (0, "Counters are exact.\n")


def test_dlq_rebuild_writes_the_list_from_the_table(flask, redis):
    redis.rpush("job-dlq", "stale")
    jobs = [failed_job(finished_ago=ago) for ago in (20, 10)]
    code, output = flask("dlq", "rebuild")
    assert (code, output) == (0, "Wrote 2 entries to job-dlq.\n")
    entries = [entry.decode() for entry in redis.lrange("job-dlq", 0, -1)]
    assert [str(job.id) in entry for job, entry in zip(reversed(jobs), entries, strict=True)] == [
        True,
        True,
    ]


def test_dlq_rebuild_reports_an_unavailable_redis(app, flask, monkeypatch):
    def away():
        raise ConnectionError("refused")

    monkeypatch.setattr(app.extensions["publisher"], "probe", away)
    code, output = flask("dlq", "rebuild")
    assert code == 1
    assert "Redis does not respond (refused)" in output


def test_jobs_show_prints_the_row_the_attempts_and_the_log(flask):
    job = failed_job(payload={"order": 7})
    attempt(job, error="ValueError: boom", traceback="Traceback …\nValueError: boom")
    log_line(job, "charging the card")
    for job_id in (str(job.id), job.id.hex.upper(), str(job.id)[:20]):
        code, output = flask("jobs", "show", job_id)
        assert code == 0
        assert str(job.id) in output
        assert '{"order": 7}' in output
        assert "attempt 1: failed" in output
        assert "ValueError: boom" in output
        assert "charging the card" in output


def test_jobs_show_refuses_a_prefix_of_no_job_or_of_several(flask):
    pending_job()
    pending_job()
    for job_id, sentence in (
        ("abc", "'abc' is not the id of a job, nor the first 4 or more digits of one."),
        ("ffff0000", "No job has an id that begins with ffff0000."),
    ):
        code, output = flask("jobs", "show", job_id)
        assert code == 1
        assert sentence in output


def test_jobs_show_lists_the_jobs_of_an_ambiguous_prefix(flask):
    first, second = (
        pending_job(id=UUID(int=0xABCD << 112 | 1)),
        pending_job(id=UUID(int=0xABCD << 112 | 2)),
    )
    code, output = flask("jobs", "show", "abcd")
    assert code == 1
    assert "Several jobs" in output
    assert str(first.id) in output
    assert str(second.id) in output
