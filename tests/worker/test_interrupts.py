"""Exceptions by signal: in the handler or nowhere, never inside a report."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from app.jobs import Cancel
from app.jobs.control_flow import JobTimeout
from app.worker.child.interrupts import Interrupts


def test_a_sleep_in_c_is_interrupted_at_the_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(JobTimeout):
        Interrupts().call(lambda: time.sleep(10), 0.05)
    assert time.monotonic() - started < 5


def test_an_exception_thrown_by_another_thread_lands_in_the_handler() -> None:
    interrupts = Interrupts()
    threading.Timer(0.05, interrupts.throw, [Cancel("enough")]).start()
    with pytest.raises(Cancel, match="enough"):
        interrupts.call(lambda: time.sleep(10), None)


def test_nothing_is_raised_outside_the_handler() -> None:
    interrupts = Interrupts()
    assert interrupts.call(lambda: "done", 5) == "done"
    interrupts.throw(Cancel("late"))
    time.sleep(0.01)


def test_an_exception_during_a_report_waits_for_its_end() -> None:
    interrupts = Interrupts()
    steps: list[Any] = []

    def handler() -> None:
        with interrupts.held():
            with interrupts.held():
                interrupts.throw(Cancel("now"))
                time.sleep(0.01)
                steps.append("inner")
            steps.append("outer")
        steps.append("never")

    with pytest.raises(Cancel, match="now"):
        interrupts.call(handler, None)
    assert steps == ["inner", "outer"]
