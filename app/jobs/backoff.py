"""The wait after failed attempt n. Pure, except for the random jitter."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.jobs.control_flow import checked_wait


@dataclass(frozen=True, slots=True)
class Backoff:
    """base, base², base³ … seconds, at most ``cap``, shortened at random by up to the fraction ``jitter``."""

    base: float = 2.0
    cap: float = 3600.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not (self.base > 0 and self.cap >= 0 and 0 <= self.jitter <= 1):
            raise ValueError(
                f"a backoff needs base > 0, cap ≥ 0 and jitter from 0 to 1, not {self}"
            )


#: Backoff; seconds after attempt 1, 2, 3 … (the last one repeats); or a function of the attempt's number.
Policy = Backoff | Sequence[float] | Callable[[int], float]


def delay(attempt: int, policy: Policy, *, roll: Callable[[], float] = random.random) -> float:
    """Seconds to wait after failed attempt ``attempt`` (from 1).

    ``roll`` returns a random number from 0 to 1. Raises ValueError if a policy function returns an invalid wait.
    """
    if callable(policy):
        return checked_wait(policy(attempt))
    if isinstance(policy, Backoff):
        return _exponential(attempt, policy, roll)
    return checked_wait(policy[min(attempt, len(policy)) - 1])


def _exponential(attempt: int, policy: Backoff, roll: Callable[[], float]) -> float:
    try:
        wait = min(policy.base**attempt, policy.cap)
    except OverflowError:
        wait = policy.cap
    # Shortened, never lengthened: the documented delays and the cap stay upper bounds.
    return wait * (1 - policy.jitter * roll()) if policy.jitter else wait
