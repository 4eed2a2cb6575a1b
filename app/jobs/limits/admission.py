"""Admission: which of the jobs that wait at a limit may start, decided by one process at a time per limit.

A slot in use is a row: a job of the limit that is free (hold 0) and pending or processing. Only a pass adds to them, and
passes of one limit follow each other under a lock, each with a snapshot taken after it. So the count is exact, and a job
leaves it in the very statement that ends, delays, cancels or rescues it.

A pass looks at the waiting keys in their order, from the one that had the last turn, and gives each one slot per round.
Within a key, priority and then time decide. It goes over KEYS keys and admits JOBS jobs at most; the caller calls again
while ``is_more``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from app.jobs.lifecycle.admission import (
    ADMIT,
    JOBS,
    KEYS,
    SET_TURN,
    STATE,
    TAKE_BACK,
    WAITING_KEYS,
)
from app.jobs.limits.deal import deal
from app.jobs.limits.rates import Tokens

#: Without a bound in all, this many jobs per thread of the live workers are admitted and not started, within bounds: so a
#: new key waits behind a window, not behind a backlog.
WINDOW_PER_THREAD, MIN_WINDOW, MAX_WINDOW = 2, 10, 500
#: Tokens are given out at most twenty times a second.
MIN_WAKE_SECONDS = 0.05
_STATE, _WAITING_KEYS, _ADMIT = STATE.call(), WAITING_KEYS.call(), ADMIT.call()


@dataclass(frozen=True, slots=True)
class Circle:
    """Where a walk over the waiting keys stands, for the next pass: from ``after`` on, up to ``upto`` in the second lap."""

    after: str
    upto: str
    is_second_lap: bool = False
    ready_at: float = math.inf  # when the first of the keys passed so far may have more


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass did."""

    admitted: Sequence[Any] = ()  # rows with the columns REF
    is_more: bool = False  # call again at once …
    circle: Circle | None = None  # … with this one, if the walk is not over
    timer: Any = None  # limits.wake_at: call again then, with it
    wake_in: float = math.inf  # seconds until then
    is_busy: bool = False  # another process has the lock, or has overtaken the timer


@dataclass(frozen=True, slots=True)
class _Key:
    """A waiting key."""

    name: str
    room: int  # how many more it may have
    ready_at: float  # when it may have more; inf if time alone does not help


class _Slots:
    """The slots and tokens of a limit, as one snapshot shows them."""

    def __init__(self, row: Any) -> None:
        self._row = row
        self.now: float = row.now
        self._by_key: dict[str, list[int]] = dict(row.slots or {})  # [used, unstarted]
        self._tokens = Tokens.of(row.rate_count, row.rate_seconds, row.burst, row.tat)

    def change(self, key: str, by: int) -> None:
        """A job of the key was admitted (1) or taken back (−1)."""
        used, unstarted = self._by_key.get(key, (0, 0))
        self._by_key[key] = [used + by, unstarted + by]

    @property
    def keys_in_use(self) -> int:
        return len(self._by_key)

    @property
    def _unstarted(self) -> int:
        return sum(unstarted for _, unstarted in self._by_key.values())

    def free(self) -> int:
        """How many more jobs the limit may admit in all."""
        row = self._row
        if row.concurrency is not None:
            bounds = [JOBS, row.concurrency - sum(used for used, _ in self._by_key.values())]
        else:
            window = (row.threads or 0) * WINDOW_PER_THREAD
            bounds = [JOBS, min(MAX_WINDOW, max(MIN_WINDOW, window)) - self._unstarted]
        if self._tokens is not None:
            bounds.append(self._tokens.available(self.now) - self._unstarted)
        return min(bounds)

    def token_at(self) -> float:
        """When the next token comes, if it is tokens that are missing; else inf: an end of a job brings the next pass."""
        unstarted, tokens = self._unstarted, self._tokens
        if tokens is None or tokens.available(self.now) > unstarted:
            return math.inf
        return tokens.next_at(unstarted, self.now)

    def key(self, row: Any) -> _Key:
        """What the waiting key of ``row`` may have."""
        used, unstarted = self._by_key.get(row.key, (0, 0))
        if row.is_paused:
            return _Key(row.key, 0, math.inf)
        if row.closed_until is not None and row.closed_until > self.now:
            return _Key(row.key, 0, row.closed_until)
        room, ready_at = JOBS, math.inf
        of_limit = self._row
        concurrency = row.concurrency if row.concurrency is not None else of_limit.key_concurrency
        if concurrency is not None:
            room = min(room, concurrency - used)
        tokens = Tokens.of(
            of_limit.key_rate_count, of_limit.key_rate_seconds, of_limit.key_burst, row.tat
        )
        if tokens is not None:
            available = tokens.available(self.now) - unstarted
            if available <= 0 < room:
                ready_at = tokens.next_at(unstarted, self.now)
            room = min(room, available)
        return _Key(row.key, room, ready_at)


def admit(
    db: Connection,
    name: str,
    *,
    alive_seconds: float,
    timer: Any = None,
    circle: Circle | None = None,
) -> Pass:
    """One pass of the limit ``name``; the caller has begun a transaction, commits it and publishes the admitted jobs.

    ``timer``: the value of an earlier pass whose time has come. ``circle``: that of the pass before, if it goes on.
    """
    states = _STATE.rows(db, {"name": name, "timer": timer, "alive_seconds": alive_seconds})
    if not states:
        return Pass(is_busy=True)
    [state] = states
    if state.is_paused:
        return Pass()
    if state.closed_until is not None and state.closed_until > state.now:
        return _end(db, name, state, Pass(), ready_at=state.closed_until)
    slots = _Slots(state)
    if state.stale:
        for key in db.scalars(TAKE_BACK, {"name": name}):
            slots.change(key, -1)
    free = slots.free()
    if free <= 0:
        return _end(db, name, state, Pass(), ready_at=slots.token_at())
    return _walk(db, name, state, slots, free, circle or Circle(state.turn, state.turn))


def _walk(db: Connection, name: str, state: Any, slots: _Slots, free: int, circle: Circle) -> Pass:
    # Keys at their own bound use a slot each, so this many are enough, unless keys are paused or without token.
    wanted = min(KEYS, free + slots.keys_in_use + 1)
    values = {
        "name": name, "after": circle.after, "upto": circle.upto,
        "is_second_lap": circle.is_second_lap, "keys": wanted,
    }  # fmt: skip
    rows = _WAITING_KEYS.rows(db, values)
    keys = [slots.key(row) for row in rows]
    if not keys:
        return _end(db, name, state, Pass(), ready_at=circle.ready_at)
    shares = deal(((key.name, key.room) for key in keys), free)
    admitted = _admit(db, name, state, shares) if shares else ()
    for row in admitted:
        slots.change(row.limit_key, 1)
    if len(admitted) >= free:
        is_more = free >= JOBS
        ready_at = math.inf if is_more else slots.token_at()
        done = Pass(admitted, is_more)
        return _end(db, name, state, done, turn=_last_turn(keys, shares), ready_at=ready_at)
    last = rows[-1]
    ready_at = min([circle.ready_at, *(key.ready_at for key in keys if key.room <= 0)])
    rest = None
    if len(keys) == wanted:
        rest = Circle(last.key, circle.upto, last.is_second_lap, ready_at)
    # Keys that had fewer jobs than their share leave slots to those that were cut.
    was_cut = bool(admitted) and any(0 < shares.get(key.name, 0) < key.room for key in keys)
    done = Pass(admitted, is_more=rest is not None or was_cut, circle=rest)
    return _end(db, name, state, done, turn=last.key, ready_at=ready_at)


def _last_turn(keys: Sequence[_Key], shares: dict[str, int]) -> str:
    """The last key that got a slot in the last round."""
    most = max(shares.values())
    return [key.name for key in keys if shares.get(key.name, 0) == most][-1]


def _admit(db: Connection, name: str, state: Any, shares: dict[str, int]) -> Sequence[Any]:
    values = {
        "name": name, "keys": list(shares), "counts": list(shares.values()),
        "is_any_queue": state.is_any_queue, "queues": state.queues,
        "is_any_type": state.is_any_type, "types": state.types,
    }  # fmt: skip
    return _ADMIT.rows(db, values)


def _end(
    db: Connection, name: str, state: Any, done: Pass, *, ready_at: float, turn: str | None = None
) -> Pass:
    """Store whose turn it was and when to look again."""
    wake_in = None if ready_at == math.inf else max(MIN_WAKE_SECONDS, ready_at - state.now)
    values = {"name": name, "turn": state.turn if turn is None else turn, "wake_in": wake_in}
    timer = db.execute(SET_TURN, values).scalar()
    if timer is None or wake_in is None:
        return done
    return replace(done, timer=timer, wake_in=wake_in)
