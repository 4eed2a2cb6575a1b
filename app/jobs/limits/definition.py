"""What a limit is made of, and what its numbers may be.

    stripe = Limit("stripe", by="customerId", concurrency=20, rate=Rate(100, per=1), key_concurrency=2)

A limit has two levels, in all and per key, and each may have a concurrency and a rate. The API checks the same
rules; its fields are named as in JSON, and so are those of ``complaints``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.config import ConfigError
from app.jobs.bounds import DAY
from app.names import NAME, NAME_RULE

MAX_CONCURRENCY = 100_000
MAX_RATE_COUNT = 1_000_000
MAX_RATE_SECONDS = DAY
MAX_RATE_PER_SECOND = 100_000
MAX_BURST = 1_000_000
MAX_BY = 200
MAX_KEY = 200
#: How often a second tokens of a rate are given out: a burst must hold those of one time.
GIVEN_OUT_PER_SECOND = 20
#: Names that no limit can have, and why.
RESERVED = {"schedule": "schedule is kept for schedules."}

CONCURRENCY_RULE = (
    f"must be a whole number from 1 to {MAX_CONCURRENCY}; to stop everything, pause the limit."
)
KEY_CONCURRENCY_RULE = (
    f"must be a whole number from 1 to {MAX_CONCURRENCY}; to stop a key, pause it."
)
RATE_RULE = "must be a Rate, such as Rate(100, per=1)."
COUNT_RULE = f"must be a whole number from 1 to {MAX_RATE_COUNT}."
PER_RULE = f"must be more than 0 and at most {MAX_RATE_SECONDS} seconds."
BURST_RULE = f"must be a whole number from 1 to {MAX_BURST}."
FAST_RULE = f"must be at most {MAX_RATE_PER_SECOND} per second."
BY_RULE = (
    f"must be the name of a field of the payload, such as customerId or customer.id,"
    f" of at most {MAX_BY} characters."
)
NOTHING_TO_LIMIT = "give concurrency, rate, perKey or by; else there is nothing to limit."

# Names only, no indexes of lists: PostgreSQL and Python must read the same value.
_STEP = r"[A-Za-z_][A-Za-z0-9_-]*"
BY = re.compile(rf"{_STEP}(\.{_STEP})*")

#: Fields of the API → the arguments of Limit and Rate.
_ARGUMENTS = {
    "perKey.concurrency": "key_concurrency",
    "perKey.rate": "key_rate",
    "perSeconds": "per",
    "perKey": "key_concurrency, key_rate",
}


def default_burst(count: float, per: float) -> int:
    """The starts that may come at once: 5 % of a second's, and at least 1. It is also the least burst."""
    return max(1, math.ceil(round(count / per / GIVEN_OUT_PER_SECOND, 6)))


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` starts of attempts in ``per`` seconds, evenly spaced but for ``burst`` at once.

    Any window of t seconds has at most burst + t × count / per starts.
    """

    count: int
    per: float = 1
    burst: int | None = None  # None: default_burst()

    def __post_init__(self) -> None:
        if self.burst is None and next(_count_and_per("", self), None) is None:
            object.__setattr__(self, "burst", default_burst(self.count, self.per))

    def __str__(self) -> str:
        """100 per second, 30 per 60 seconds"""
        return f"{self.count} per {'second' if self.per == 1 else f'{self.per:g} seconds'}"


@dataclass(frozen=True)
class Definition:
    """The numbers of a limit. None: that level has no such bound. ``complaints`` says what is wrong with them."""

    name: str
    by: str | None = None  # path of the payload's field that has the key
    concurrency: int | None = None
    rate: Rate | None = None
    key_concurrency: int | None = None
    key_rate: Rate | None = None

    @property
    def is_per_key(self) -> bool:
        """Whether a key has bounds of its own, so that every job needs a key."""
        return self.key_concurrency is not None or self.key_rate is not None


@dataclass(frozen=True)
class Limit(Definition):
    """A limit that code declares: workers store it when they start.

    ``by``: the payload's field that has the key; without it, jobs may give ``limit_key``. ``concurrency``, ``rate``: of
    all jobs; ``key_concurrency``, ``key_rate``: of each key's. Raises ConfigError for numbers out of range, and for a
    name that has another definition in this process.
    """

    def __post_init__(self) -> None:
        for field, text in complaints(self):
            raise ConfigError(f"Limit({self.name!r}): {_in_python(field, text)}")
        known = _declared.setdefault(self.name, self)
        if known != self:
            raise ConfigError(
                f"The limit {self.name!r} is defined twice with different numbers: {known} and {self};"
                " define it once and import it, or rename one of them."
            )

    def __str__(self) -> str:
        given = {name: value for name, value in vars(self).items() if value is not None}
        del given["name"]
        return f"Limit({', '.join([repr(self.name), *(f'{n}={v!r}' for n, v in given.items())])})"


_declared: dict[str, Limit] = {}


def declared() -> list[Limit]:
    """The limits that the code of this process defines, by name."""
    return [_declared[name] for name in sorted(_declared)]


def complaints(limit: Definition) -> Iterator[tuple[str, str]]:
    """(field of the API, what is wrong with it)."""
    yield from name_complaints(limit.name)
    if limit.by is not None and not is_path(limit.by):
        yield "by", BY_RULE
    if limit.concurrency is not None and not _is_whole(limit.concurrency, MAX_CONCURRENCY):
        yield "concurrency", CONCURRENCY_RULE
    yield from rate_complaints("rate", limit.rate)
    if limit.key_concurrency is not None and not _is_whole(limit.key_concurrency, MAX_CONCURRENCY):
        yield "perKey.concurrency", KEY_CONCURRENCY_RULE
    yield from rate_complaints("perKey.rate", limit.key_rate)
    if Definition(**vars(limit)) == Definition(limit.name):
        yield "concurrency", NOTHING_TO_LIMIT


def name_complaints(name: object) -> Iterator[tuple[str, str]]:
    """What keeps a limit from having this name."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        yield "name", NAME_RULE
    elif name in RESERVED:
        yield "name", RESERVED[name]


def is_path(value: object) -> bool:
    """Whether it can be the path of a field of a payload."""
    return isinstance(value, str) and len(value) <= MAX_BY and BY.fullmatch(value) is not None


def rate_complaints(field: str, rate: object) -> Iterator[tuple[str, str]]:
    """What is wrong with a rate, by field: ``rate.burst``."""
    if rate is None:
        return
    if not isinstance(rate, Rate):
        yield field, RATE_RULE
        return
    wrong = list(_count_and_per(field, rate))
    yield from wrong
    if rate.burst is not None and not _is_whole(rate.burst, MAX_BURST):
        yield f"{field}.burst", BURST_RULE
    elif not wrong and rate.burst is not None:
        least = default_burst(rate.count, rate.per)
        if rate.burst < least:
            yield (
                f"{field}.burst",
                f"must be at least {least} for {rate}: tokens are given out twenty times a second.",
            )


def _count_and_per(field: str, rate: Rate) -> Iterator[tuple[str, str]]:
    is_count, is_per = _is_whole(rate.count, MAX_RATE_COUNT), _is_seconds(rate.per)
    if not is_count:
        yield f"{field}.count", COUNT_RULE
    if not is_per:
        yield f"{field}.perSeconds", PER_RULE
    if is_count and is_per and rate.count / rate.per > MAX_RATE_PER_SECOND:
        yield f"{field}.count", FAST_RULE


def _is_whole(value: object, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= high


def _is_seconds(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 < value <= MAX_RATE_SECONDS  # not nan, not infinite


def _in_python(field: str, text: str) -> str:
    """``text`` about a field of the API, in the words of the arguments of Limit and Rate."""
    for api, python in _ARGUMENTS.items():
        field, text = field.replace(api, python), text.replace(api, python)
    return f"{field} {text}" if text.startswith("must") else text
