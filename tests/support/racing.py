"""Races: threads that start at the same moment, and whose errors are not lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def race(*functions: Callable[[], T], timeout: float = 20) -> list[T]:
    """Calls all functions at once, one thread each; their results in order. Raises the first error."""
    barrier = threading.Barrier(len(functions))
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(index: int, function: Callable[[], T]) -> None:
        barrier.wait(timeout)
        try:
            results[index] = function()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(index, function), daemon=True)
        for index, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
        assert not thread.is_alive(), f"still running after {timeout} s"
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(functions))]


def in_thread(function: Callable[[], T]) -> T:
    """``function()`` in a thread of its own, as a consumer runs its jobs."""
    return race(function)[0]
