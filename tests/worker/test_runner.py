"""One attempt, from handler call to row: every way a handler can end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.jobs import events, registry
from app.jobs.control_flow import JobTimeout
from app.jobs.ending import MAX_ERROR_CHARACTERS, AttemptError
from tests.support import handlers
from tests.support.handlers import Unprintable
from tests.support.racing import in_thread, race
from tests.support.waiting import wait_until


@pytest.fixture
def attempt_row(rows: Any) -> Any:
    """The one row of job_attempts, or None."""

    def attempt_row() -> Any:
        found = rows("SELECT * FROM job_attempts")
        assert len(found) <= 1
        return found[0] if found else None

    return attempt_row


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, True]}, "text", 0, "", [], False, "äöü 🚀", 10**300]
)
def test_the_result_of_a_handler_is_stored(
    run: Any, types: Any, value: Any, attempt_row: Any
) -> None:
    done = run(payload={"value": value})

    assert (done.status, done.result, done.attempts) == ("completed", value, 1)
    assert done.finished_at
    assert done.last_error is None
    assert attempt_row() is None


def test_none_leaves_no_result(run: Any) -> None:
    done = run(payload={"value": None})

    assert (done.status, done.result) == ("completed", None)


@pytest.mark.parametrize(
    ("act", "error"),
    [
        ("raise", "ValueError: boom"),
        ("exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt"),
        ("memory", "MemoryError"),
        ("unprintable", "Unprintable: (its text can't be read)"),
        ("unprintable, exits", "Unprintable: (its text can't be read)"),
        ("raise with a nul", "ValueError: a\ufffdb \ufffd"),
    ],
)
def test_a_failed_attempt_is_retried(run: Any, attempt_row: Any, act: str, error: str) -> None:
    job = run(payload={"do": act})

    assert (job.status, job.attempts, job.result) == ("pending", 1, None)
    assert error in job.last_error
    assert attempt_row().outcome == "failed"
    assert attempt_row().error == job.last_error
    assert 1.9 < (job.run_at - job.updated_at).total_seconds() <= 2.0


@pytest.mark.parametrize(
    ("act", "kept", "warning"),
    [
        ("return a set", [1, 2], "result (set)"),
        ("return nan", "NaN", "not finite"),
        ("return infinity", "Infinity", "not finite"),
        ("return a nul", {"text": "a\ufffdb"}, "result.text (text with NUL"),
        ("return a surrogate", "\ufffd", "result (text with NUL or surrogate"),
        ("return a date", {"at": "2026-11-25T12:00:00+00:00", "sum": "1.10"}, "result.at (datetime)"),
    ],
)  # fmt: skip
def test_a_result_that_json_cannot_hold_is_kept_as_text_with_a_warning(
    run: Any, attempt_row: Any, rows: Any, caplog: Any, act: str, kept: Any, warning: str
) -> None:
    with caplog.at_level("WARNING", "app"):
        job = run(payload={"do": act})

    assert (job.status, job.attempts, job.result) == ("completed", 1, kept)
    assert attempt_row() is None
    [line] = rows("SELECT level, message, attempt FROM job_log_lines")
    assert (line.level, line.attempt) == ("warning", 1)
    assert warning in line.message
    assert line.message in caplog.text


def test_a_deeply_nested_result_completes(run: Any, rows: Any) -> None:
    job = run(payload={"do": "return nested", "depth": 100_000})

    assert (job.status, job.attempts) == ("completed", 1)
    assert job.result
    assert [line.level for line in rows("SELECT level FROM job_log_lines")] == ["warning"]


def test_a_result_over_the_limit_is_cut(
    make_kernel: Any, enqueue: Any, row: Any, rows: Any
) -> None:
    kernel = make_kernel(max_result_bytes=1000)
    over = enqueue(payload={"do": "return big", "size": 999})
    exact = enqueue(payload={"do": "return big", "size": 998})  # and two quotes
    for _ in range(2):
        job = kernel.next()
        in_thread(lambda job=job: kernel.run(job))

    assert row(over).status == "completed"
    assert row(over).result.startswith("xxx")
    assert row(over).result.endswith("x…")
    assert 900 < len(row(over).result) < 999
    [line] = rows("SELECT job_id, message FROM job_log_lines")
    assert line.job_id == over
    assert "1,001 bytes" in line.message
    assert "MAX_RESULT_BYTES allows 1,000" in line.message
    assert row(exact).status == "completed"
    assert row(exact).result == "x" * 998


def test_the_last_attempt_buries(run: Any, rows: Any, attempt_row: Any) -> None:
    job = run(payload={"do": "raise", "message": "no way"}, max_attempts=1)

    assert (job.status, job.attempts, job.last_error) == ("failed", 1, "ValueError: no way")
    [letter] = rows("SELECT * FROM dead_letters")
    assert (letter.job_id, letter.reason, letter.attempts) == (job.id, "ValueError: no way", 1)
    assert attempt_row().retry_at is None


def test_a_traceback_shows_the_handlers_frames_only(run: Any, attempt_row: Any) -> None:
    run(payload={"do": "raise"})

    traceback = attempt_row().traceback
    assert "tests/support/handlers.py" in traceback
    assert traceback.endswith("ValueError: boom\n")
    assert "app/worker" not in traceback
    assert attempt_row().error_class == "ValueError"


def test_permanent_buries_at_once(run: Any, attempt_row: Any) -> None:
    job = run(payload={"do": "permanent"})

    assert (job.status, job.attempts, job.last_error) == ("failed", 1, "no such customer")
    assert attempt_row().traceback is None


def test_a_snooze_costs_no_attempt(run: Any, attempt_row: Any) -> None:
    job = run(payload={"do": "snooze", "seconds": 60})

    assert (job.status, job.attempts) == ("pending", 0)
    assert (job.run_at - job.updated_at).total_seconds() == 60
    assert (attempt_row().outcome, attempt_row().error) == ("snoozed", "too early")


def test_an_invalid_snooze_fails_the_attempt(run: Any) -> None:
    job = run(payload={"do": "snooze", "seconds": -1})

    assert (job.status, job.attempts) == ("pending", 1)
    assert "ValueError: a wait must be" in job.last_error


def test_retry_after_sets_its_own_wait(run: Any) -> None:
    job = run(payload={"do": "retry after", "seconds": 123})

    assert (job.status, job.attempts, job.last_error) == ("pending", 1, "busy there")
    assert (job.run_at - job.updated_at).total_seconds() == 123


@pytest.mark.parametrize(("act", "attempts"), [("snooze", 0), ("retry after", 1)])
@pytest.mark.parametrize("seconds", [0, 0.01, 1])
def test_a_wait_is_at_least_a_second(run: Any, act: str, attempts: int, seconds: float) -> None:
    job = run(payload={"do": act, "seconds": seconds})

    assert (job.status, job.attempts) == ("pending", attempts)
    assert (job.run_at - job.updated_at).total_seconds() == 1


def test_retry_after_of_the_last_attempt_buries(run: Any) -> None:
    assert run(payload={"do": "retry after", "seconds": 1}, max_attempts=1).status == "failed"


def test_cancel_ends_the_job(run: Any, attempt_row: Any, rows: Any) -> None:
    job = run(payload={"do": "cancel"})

    assert (job.status, job.attempts) == ("cancelled", 1)
    assert (attempt_row().outcome, attempt_row().error) == ("cancelled", "nothing to do")
    assert rows("SELECT * FROM dead_letters") == []


def test_a_job_of_an_unknown_type_is_returned(
    kernel: Any, enqueue: Any, types: Any, row: Any, attempt_row: Any, claim: Any
) -> None:
    types("short-lived")(lambda payload: None)
    job_id = enqueue("short-lived", max_attempts=1)
    [claimed] = claim(job_id)
    registry._types.pop("short-lived")

    in_thread(lambda: kernel.run(claimed))

    assert (row(job_id).status, row(job_id).attempts) == ("pending", 0)
    assert "short-lived" in row(job_id).last_error
    assert "greet" in row(job_id).last_error  # what is known
    assert (attempt_row().outcome, attempt_row().error_class) == ("released", "UnknownJobType")


def test_a_job_whose_payload_the_schema_refuses_is_returned(
    kernel: Any, enqueue: Any, row: Any, attempt_row: Any, rows: Any
) -> None:
    """In a rolling deploy the next worker may know the new field."""
    job_id = enqueue("greet", {"name": "Ada", "nick": "Countess"}, max_attempts=1)

    in_thread(lambda: kernel.run(kernel.next()))

    job = row(job_id)
    assert (job.status, job.attempts, job.crashes) == ("pending", 0, 0)
    assert (job.run_at - job.updated_at).total_seconds() == 1
    assert "does not fit greet: payload.nick" in job.last_error
    assert (attempt_row().outcome, attempt_row().error_class) == ("released", "PayloadRefused")
    assert attempt_row().traceback is None
    assert rows("SELECT * FROM dead_letters") == []


@pytest.mark.parametrize(("hours", "status"), [(24.0, "failed"), (0.0, "pending")])
def test_a_payload_that_every_worker_refuses_fails_after_unknown_type_hours(
    make_kernel: Any, enqueue: Any, row: Any, rows: Any, hours: float, status: str
) -> None:
    kernel = make_kernel(unknown_type_hours=hours)
    job_id = enqueue("greet", {})
    in_thread(lambda: kernel.run(kernel.next()))
    rows("UPDATE job_attempts SET since = now() - interval '25 hours'")
    rows("UPDATE jobs SET run_at = now()")

    in_thread(lambda: kernel.run(wait_until(kernel.next)))

    assert row(job_id).status == status
    reasons = [letter.reason for letter in rows("SELECT reason FROM dead_letters")]
    assert all("payload.name" in reason for reason in reasons)
    assert len(reasons) == (status == "failed")


def test_progress_and_lines_of_a_quick_handler_are_kept(run: Any, rows: Any) -> None:
    job = run(payload={"do": "report"})

    assert job.status == "completed"
    assert job.progress == {"percent": 40, "note": "half way, nearly"}
    lines = rows("SELECT level, message, attempt FROM job_log_lines ORDER BY id")
    assert [tuple(line) for line in lines] == [
        ("info", "first line", 1),
        ("warning", "second line", 1),
    ]


def test_a_failing_backoff_of_a_type_falls_back_to_the_default(run: Any, types: Any) -> None:
    @types("odd", backoff=lambda attempt: float("nan"))
    def odd(payload: Any) -> None:
        raise ValueError("boom")

    job = run("odd")

    assert job.status == "pending"
    assert 1.9 < (job.run_at - job.updated_at).total_seconds() <= 2.0


def test_a_thread_survives_errors_of_a_backoff_or_a_subscriber(
    run: Any, types: Any, monkeypatch: Any
) -> None:
    def leave(*_: Any) -> float:
        raise SystemExit

    monkeypatch.setattr(events, "on_job_failed", [leave])

    @types("leaves", backoff=leave)
    def leaves(payload: Any) -> None:
        raise ValueError("boom")

    assert run("leaves").last_error == "ValueError: boom"


def test_subscribers_see_every_failed_attempt_and_affect_none(
    run: Any, monkeypatch: Any, caplog: Any
) -> None:
    seen: list[str] = []

    def broken(job: Any, error: BaseException) -> None:
        raise RuntimeError("the subscriber is broken")

    monkeypatch.setattr(
        events, "on_job_failed", [broken, lambda job, error: seen.append(f"{job.type}: {error}")]
    )

    job = run(payload={"do": "raise"})

    assert seen == ["act: boom"]
    assert job.last_error == "ValueError: boom"
    assert "A subscriber of job.failed raised" in caplog.text


class TestTimeouts:
    def run_with_ticker(self, kernel: Any, job: Any) -> None:
        is_over = False

        def tick() -> None:
            while not is_over:
                kernel.runner.throw_timeouts()
                time.sleep(0.005)

        def attempt() -> None:
            nonlocal is_over
            try:
                kernel.run(job)
            finally:
                is_over = True

        race(attempt, tick)

    @pytest.mark.parametrize(
        "payload", [{"do": "spin", "seconds": 15}, {"do": "wait for cancel"}], ids=["loop", "sleep"]
    )
    def test_an_attempt_past_its_limit_is_interrupted(
        self, kernel: Any, enqueue: Any, row: Any, attempt_row: Any, payload: Any
    ) -> None:
        job_id = enqueue("act", payload, timeout_seconds=0.2)

        self.run_with_ticker(kernel, kernel.next())

        assert (row(job_id).status, row(job_id).attempts) == ("pending", 1)
        assert attempt_row().outcome == "timed_out"
        assert row(job_id).last_error == str(JobTimeout())
        assert row(job_id).result is None

    def test_an_attempt_within_its_limit_is_left_alone(
        self, kernel: Any, enqueue: Any, row: Any
    ) -> None:
        job_id = enqueue("act", {"do": "spin", "seconds": 0.2}, timeout_seconds=30)

        self.run_with_ticker(kernel, kernel.next())

        assert row(job_id).result == "never interrupted"

    def test_the_thread_continues_with_its_next_job(
        self, kernel: Any, enqueue: Any, row: Any
    ) -> None:
        slow = enqueue("act", {"do": "spin", "seconds": 15}, timeout_seconds=0.2)
        after = enqueue("act", {"do": "spin", "seconds": 0.3}, timeout_seconds=30)
        jobs = [kernel.next(), kernel.next()]

        def both() -> None:
            for job in jobs:
                kernel.run(job)

        is_over = False

        def work() -> None:
            nonlocal is_over
            try:
                both()
            finally:
                is_over = True

        def tick() -> None:
            while not is_over:
                kernel.runner.throw_timeouts()
                time.sleep(0.005)

        race(work, tick)

        assert row(slow).last_error == str(JobTimeout())
        assert row(after).result == "never interrupted"


class TestDescribe:
    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (ValueError("boom"), "ValueError: boom"),
            (ValueError(), "ValueError"),
            (Unprintable(ValueError), "Unprintable: (its text can't be read)"),
            (Unprintable(SystemExit), "Unprintable: (its text can't be read)"),
            (handlers.Permanent("no such customer"), "no such customer"),
        ],
    )
    def test_an_error_is_shown_in_one_line(self, error: BaseException, text: str) -> None:
        assert AttemptError.of(error).line == text

    def test_a_long_text_is_cut(self) -> None:
        assert len(AttemptError.of(ValueError("x" * 10_000)).line) == MAX_ERROR_CHARACTERS
