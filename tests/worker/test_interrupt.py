"""Asynchronous exceptions land in the handler, or nowhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import Any

import pytest

from app.worker.interrupt import Interrupt
from tests.support.racing import in_thread, race


class Thrown(Exception):
    """What is fired here."""


def spin(seconds: float = 10) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return "ended by itself"


def throw_when_armed(interrupt: Interrupt) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if interrupt.throw(Thrown):
            return True
    return False


def test_a_python_loop_is_interrupted() -> None:
    interrupt = Interrupt()

    def handler() -> None:
        with pytest.raises(Thrown):
            interrupt.call(spin)

    race(handler, lambda: throw_when_armed(interrupt))
    assert interrupt.is_thrown


@pytest.mark.slow
def test_it_throws_only_once() -> None:
    interrupt = Interrupt()
    caught: list[int] = []

    def handler() -> None:
        try:
            spin(5)
        except Thrown:
            caught.append(1)
            spin(0.2)  # a second one would come out here

    _, fired = race(lambda: interrupt.call(handler), lambda: throw_when_armed(interrupt))

    assert fired
    assert caught == [1]
    assert not interrupt.throw(Thrown)


def test_before_and_after_the_handler_nothing_is_thrown() -> None:
    interrupt = Interrupt()

    assert not interrupt.throw(Thrown)
    assert interrupt.call(lambda: "result") == "result"
    assert not interrupt.throw(Thrown)
    assert not interrupt.is_thrown


def test_an_exception_of_the_handler_is_raised_and_disarms() -> None:
    interrupt = Interrupt()

    with pytest.raises(ZeroDivisionError):
        interrupt.call(lambda: 1 / 0)

    assert not interrupt.throw(Thrown)


@pytest.mark.slow
def test_an_exception_that_has_not_arrived_when_the_handler_ends_never_does() -> None:
    """Fired from the handler's own thread it waits for the next bytecode, which is past the end."""

    def handler() -> str:
        interrupt = Interrupt()
        with contextlib.suppress(Thrown):  # it may arrive inside
            interrupt.call(lambda: interrupt.throw(Thrown))
        return spin(0.05)

    for _ in range(20):
        assert in_thread(handler) == "ended by itself"


@pytest.mark.slow
def test_kernel_code_is_never_hit() -> None:
    """Handlers that end just when their time does: whatever is thrown comes out of call()."""
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    interrupts: list[Interrupt] = []
    is_over = threading.Event()
    caught = 0

    def kernel() -> None:
        nonlocal caught
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            interrupt = Interrupt()
            interrupts.append(interrupt)
            try:
                interrupt.call(lambda: sum(range(60)))
            except Thrown:
                caught += 1
        is_over.set()

    def ticker() -> None:
        while not is_over.is_set():
            if interrupts:
                interrupts[-1].throw(Thrown)

    try:
        race(kernel, ticker)  # a Thrown that escapes fails the race
    finally:
        sys.setswitchinterval(switch)
        is_over.set()

    assert caught, "nothing was hit at all"


@pytest.mark.slow
def test_handlers_of_other_threads_are_not_interrupted() -> None:
    first, second = Interrupt(), Interrupt()

    def other() -> Any:
        return second.call(lambda: spin(0.5))

    def hit() -> None:
        with pytest.raises(Thrown):
            first.call(spin)

    results = race(hit, other, lambda: throw_when_armed(first))
    assert results[1] == "ended by itself"
