"""What a handler receives beside its payload."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import clock
from app.jobs.context import Context
from app.jobs.control_flow import Cancel, JobTimeout
from app.jobs.testing import make_context, make_settings


def messages(ctx: Context, *, is_last: bool = False) -> list[str]:
    return [message for _at, _level, message in ctx.drain(is_last=is_last)[1]]


def test_only_the_latest_progress_is_drained_and_only_once() -> None:
    ctx = make_context()
    ctx.progress(10)
    ctx.progress(40, "halfway, nearly")
    assert ctx.drain() == ({"percent": 40.0, "note": "halfway, nearly"}, [])
    assert ctx.drain() == (None, [])


@pytest.mark.parametrize(("given", "kept"), [(-5, 0.0), (140, 100.0), (33.333333, 33.33)])
def test_progress_is_kept_between_0_and_100(given: float, kept: float) -> None:
    ctx = make_context()
    ctx.progress(given)
    assert ctx.drain()[0] == {"percent": kept, "note": ""}


def test_progress_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError):
        make_context().progress(float("nan"))


def test_log_lines_come_in_order_with_their_instant_and_level() -> None:
    ctx = make_context()
    before = clock.now()
    ctx.log("first")
    ctx.log({"n": 2}, level="warn")
    (at, level, message), second = ctx.drain()[1]
    assert before <= at <= clock.now()
    assert (level, message) == ("info", "first")
    assert second[1:] == ("warning", "{'n': 2}")
    assert ctx.drain() == (None, [])


def test_an_unknown_level_counts_as_info() -> None:
    ctx = make_context()
    ctx.log("still kept", level="loud")
    assert ctx.drain()[1][0][1] == "info"


def test_a_long_line_is_cut_at_2000_characters() -> None:
    ctx = make_context()
    ctx.log("x" * 5000)
    (line,) = messages(ctx)
    assert len(line) == 2000
    assert line.endswith("x…")


def test_what_postgresql_cannot_store_is_replaced() -> None:
    ctx = make_context()
    ctx.log("nul \0 surrogate \ud800 é")
    assert messages(ctx) == ["nul \ufffd surrogate \ufffd é"]


def test_lines_past_the_limit_are_counted_in_the_last_line() -> None:
    ctx = make_context(settings=make_settings(max_log_lines=2))
    for n in range(5):
        ctx.log(n)
    assert messages(ctx) == ["0", "1"]
    ctx.log("more")
    assert messages(ctx) == []
    assert messages(ctx, is_last=True) == ["4 more lines were left out: MAX_LOG_LINES is reached"]


def test_lines_from_many_threads_all_arrive_while_the_heartbeat_drains() -> None:
    ctx = make_context(settings=make_settings(max_log_lines=10_000))
    start = threading.Barrier(5)
    drained: list[str] = []

    def write(name: int) -> None:
        start.wait()
        for n in range(1000):
            ctx.log(f"{name}-{n}")
            ctx.progress(n / 10)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        drained += messages(ctx)
    drained += messages(ctx, is_last=True)
    assert sorted(drained) == sorted(f"{name}-{n}" for name in range(4) for n in range(1000))


def test_the_deadline_is_an_instant_and_what_remains() -> None:
    ctx = make_context(timeout_seconds=60)
    assert ctx.deadline is not None
    assert timedelta(seconds=59) < ctx.deadline - datetime.now(UTC) <= timedelta(seconds=60)
    assert 59 < (ctx.remaining() or 0) <= 60


def test_without_a_time_limit_there_is_no_deadline() -> None:
    ctx = make_context()
    assert ctx.deadline is None
    assert ctx.remaining() is None


def test_what_remains_is_never_negative() -> None:
    assert make_context(timeout_seconds=-5).remaining() == 0


def test_a_cancel_request_is_seen_and_raised() -> None:
    ctx = make_context()
    assert not ctx.is_cancel_requested
    ctx.raise_if_cancelled()
    ctx.request_cancel()
    ctx.request_cancel()
    assert ctx.is_cancel_requested
    with pytest.raises(Cancel):
        ctx.raise_if_cancelled()


def test_the_last_attempt_is_marked_as_such() -> None:
    assert not make_context(attempt=4, max_attempts=5).is_last_attempt
    assert make_context(attempt=5, max_attempts=5).is_last_attempt


def timed(call: Callable[[], Any]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


def test_sleep_takes_its_time() -> None:
    assert 0.15 <= timed(lambda: make_context().sleep(0.15)) < 1


def test_sleep_wakes_up_for_a_cancel_request_from_another_thread() -> None:
    ctx = make_context()
    threading.Timer(0.1, ctx.request_cancel).start()

    def sleep() -> None:
        with pytest.raises(Cancel):
            ctx.sleep(30)

    assert timed(sleep) < 2


def test_sleep_ends_at_the_deadline() -> None:
    def sleep() -> None:
        with pytest.raises(JobTimeout):
            make_context(timeout_seconds=0.1).sleep(30)

    assert timed(sleep) < 2
