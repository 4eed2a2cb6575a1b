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
from dataclasses import dataclass
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
    is_second_lap: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass did."""

    admitted: Sequence[Any] = ()  # with the columns REF
    circle: Circle | None = None  # not closed yet: call again at once, with it
    is_more: bool = False  # call again at once
    timer: Any = None  # limits.wake_at: call again then, with it
    wake_in: float = math.inf  # seconds until then
    is_busy: bool = False  # another process has the lock, or has overtaken the timer


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    room: int
    ready_at: float  # when it may have more; inf: that is no matter of time


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
        return _end(db, name, state, Pass(), state.turn, state.closed_until)
    slots: dict[str, list[int]] = dict(state.slots or {})
    if state.stale:
        _take_back(db, name, slots)
    tokens = Tokens.of(state.rate_count, state.rate_seconds, state.burst, state.tat)
    free = _free(state, slots, tokens)
    if free <= 0:
        return _end(db, name, state, Pass(), state.turn, _token_at(state, slots, tokens))
    circle = circle or Circle(state.turn, state.turn, False)
    values = {
        "name": name, "after": circle.after, "upto": circle.upto, "is_second_lap": circle.is_second_lap,
        "keys": KEYS,
    }  # fmt: skip
    rows = _WAITING_KEYS.rows(db, values)
    keys = [_key(row, state, slots) for row in rows]
    shares = deal(((key.name, key.room) for key in keys), free)
    admitted = _admit(db, name, state, shares)
    return _outcome(db, name, state, rows, keys, shares, free, admitted, circle, tokens, slots)


def _outcome(
    db: Connection, name: str, state: Any, rows: Sequence[Any], keys: Sequence[_Key],
    shares: dict[str, int], free: int, admitted: Sequence[Any], circle: Circle,
    tokens: Tokens | None, slots: dict[str, list[int]],
) -> Pass:  # fmt: skip
    left = free - len(admitted)
    if left <= 0:
        # The next turn begins after the last key that got something in the last round.
        is_full = free >= JOBS
        turn = _last_turn(keys, shares)
        ready = math.inf if is_full else _token_at(state, _count(slots, admitted), tokens)
        return _end(db, name, state, Pass(admitted, is_more=is_full), turn, ready)
    if not keys:
        return _end(db, name, state, Pass(admitted), state.turn, math.inf)
    is_closed = len(keys) < KEYS
    turn = keys[-1].name
    next_circle = None if is_closed else Circle(turn, circle.upto, rows[-1].is_second_lap)
    # A key that had fewer jobs than its share leaves slots to keys that were cut.
    was_cut = bool(admitted) and any(0 < shares.get(key.name, 0) < key.room for key in keys)
    ready = min((key.ready_at for key in keys if key.room <= 0), default=math.inf)
    return _end(
        db,
        name,
        state,
        Pass(admitted, circle=next_circle, is_more=was_cut or not is_closed),
        turn,
        ready,
    )


def _free(state: Any, slots: dict[str, list[int]], tokens: Tokens | None) -> int:
    """How many more jobs the limit may admit in all."""
    used = sum(used for used, _ in slots.values())
    unstarted = sum(unstarted for _, unstarted in slots.values())
    bounds = [JOBS]
    if state.concurrency is not None:
        bounds.append(state.concurrency - used)
    else:
        threads = (state.threads or 0) * WINDOW_PER_THREAD
        bounds.append(min(MAX_WINDOW, max(MIN_WINDOW, threads)) - unstarted)
    if tokens is not None:
        bounds.append(tokens.available(state.now) - unstarted)
    return min(bounds)


def _token_at(state: Any, slots: dict[str, list[int]], tokens: Tokens | None) -> float:
    """When the next token comes, if it is tokens that are missing; else inf: an end of a job brings the next pass."""
    unstarted = sum(unstarted for _, unstarted in slots.values())
    if tokens is None or tokens.available(state.now) > unstarted:
        return math.inf
    return tokens.next_at(unstarted, state.now)


def _key(row: Any, state: Any, slots: dict[str, list[int]]) -> _Key:
    """What one waiting key may have."""
    used, unstarted = slots.get(row.key, (0, 0))
    if row.is_paused:
        return _Key(row.key, 0, math.inf)
    if row.closed_until is not None and row.closed_until > state.now:
        return _Key(row.key, 0, row.closed_until)
    room, ready_at = JOBS, math.inf
    concurrency = row.concurrency if row.concurrency is not None else state.key_concurrency
    if concurrency is not None:
        room = min(room, concurrency - used)
    tokens = Tokens.of(state.key_rate_count, state.key_rate_seconds, state.key_burst, row.tat)
    if tokens is not None:
        available = tokens.available(state.now) - unstarted
        if available <= 0 < room:
            ready_at = tokens.next_at(unstarted, state.now)
        room = min(room, available)
    return _Key(row.key, room, ready_at)


def _last_turn(keys: Sequence[_Key], shares: dict[str, int]) -> str:
    most = max(shares.values())
    return [key.name for key in keys if shares.get(key.name, 0) == most][-1]


def _count(slots: dict[str, list[int]], admitted: Sequence[Any]) -> dict[str, list[int]]:
    counted = dict(slots)
    for row in admitted:
        used, unstarted = counted.get(row.limit_key, (0, 0))
        counted[row.limit_key] = [used + 1, unstarted + 1]
    return counted


def _take_back(db: Connection, name: str, slots: dict[str, list[int]]) -> None:
    for key in db.scalars(TAKE_BACK, {"name": name}):
        used, unstarted = slots[key]
        slots[key] = [used - 1, unstarted - 1]


def _admit(db: Connection, name: str, state: Any, shares: dict[str, int]) -> Sequence[Any]:
    if not shares:
        return ()
    values = {
        "name": name, "keys": list(shares), "counts": list(shares.values()),
        "is_any_queue": state.is_any_queue, "queues": state.queues,
        "is_any_type": state.is_any_type, "types": state.types,
    }  # fmt: skip
    return _ADMIT.rows(db, values)


def _end(db: Connection, name: str, state: Any, done: Pass, turn: str, ready_at: float) -> Pass:
    """Store whose turn it was and when to look again."""
    wake_in = None if ready_at == math.inf else max(MIN_WAKE_SECONDS, ready_at - state.now)
    values = {"name": name, "turn": turn, "wake_in": wake_in}
    timer = db.execute(SET_TURN, values).scalar()
    return Pass(
        done.admitted,
        done.circle,
        done.is_more,
        timer,
        math.inf if timer is None else wake_in or 0.0,
    )
