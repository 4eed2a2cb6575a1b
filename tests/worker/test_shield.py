"""Asynchronous exceptions land in the handler, or nowhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import Any

import pytest

from app.worker.interrupt import Shield
from tests.support.racing import in_thread, race


class Thrown(Exception):
    """What is fired here."""


def spin(seconds: float = 10) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return "ended by itself"


def fire_when_armed(shield: Shield) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if shield.fire(Thrown):
            return True
    return False


def test_a_python_loop_is_interrupted() -> None:
    shield = Shield()

    def handler() -> None:
        with pytest.raises(Thrown):
            shield.call(spin)

    race(handler, lambda: fire_when_armed(shield))
    assert shield.is_fired


@pytest.mark.slow
def test_it_fires_once_only() -> None:
    shield = Shield()
    caught: list[int] = []

    def handler() -> None:
        try:
            spin(5)
        except Thrown:
            caught.append(1)
            spin(0.2)  # a second one would come out here

    _, fired = race(lambda: shield.call(handler), lambda: fire_when_armed(shield))

    assert fired
    assert caught == [1]
    assert not shield.fire(Thrown)


def test_before_and_after_the_handler_nothing_is_fired() -> None:
    shield = Shield()

    assert not shield.fire(Thrown)
    assert shield.call(lambda: "result") == "result"
    assert not shield.fire(Thrown)
    assert not shield.is_fired


def test_a_handlers_own_exception_comes_out_and_disarms() -> None:
    shield = Shield()

    with pytest.raises(ZeroDivisionError):
        shield.call(lambda: 1 / 0)

    assert not shield.fire(Thrown)


@pytest.mark.slow
def test_an_exception_that_has_not_arrived_when_the_handler_ends_never_does() -> None:
    """Fired from the handler's own thread it waits for the next bytecode, which is past the end."""

    def handler() -> str:
        shield = Shield()
        with contextlib.suppress(Thrown):  # it may arrive inside
            shield.call(lambda: shield.fire(Thrown))
        return spin(0.05)

    for _ in range(20):
        assert in_thread(handler) == "ended by itself"


@pytest.mark.slow
def test_kernel_code_is_never_hit() -> None:
    """Handlers that end just when their time does: whatever is thrown comes out of call()."""
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    shields: list[Shield] = []
    is_over = threading.Event()
    caught = 0

    def kernel() -> None:
        nonlocal caught
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            shield = Shield()
            shields.append(shield)
            try:
                shield.call(lambda: sum(range(60)))
            except Thrown:
                caught += 1
        is_over.set()

    def ticker() -> None:
        while not is_over.is_set():
            if shields:
                shields[-1].fire(Thrown)

    try:
        race(kernel, ticker)  # a Thrown that escapes fails the race
    finally:
        sys.setswitchinterval(switch)
        is_over.set()

    assert caught, "nothing was hit at all"


@pytest.mark.slow
def test_shields_of_other_threads_are_not_hit() -> None:
    first, second = Shield(), Shield()

    def other() -> Any:
        return second.call(lambda: spin(0.5))

    def hit() -> None:
        with pytest.raises(Thrown):
            first.call(spin)

    results = race(hit, other, lambda: fire_when_armed(first))
    assert results[1] == "ended by itself"
