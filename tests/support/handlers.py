"""Job types for tests (JOB_MODULES=tests.support.handlers): the payload chooses how an attempt ends."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from flask import current_app
from marshmallow import Schema, fields
from sqlalchemy import text

from app.config import WEB_SECRETS
from app.extensions import db
from app.jobs import Cancel, Context, Permanent, RetryAfter, Snooze, Throttle, enqueue, job

Payload = dict[str, Any]

#: For tests in the same process: set while an attempt of "gate" waits; set by the test to let it go.
gate_reached = threading.Event()
gate_opened = threading.Event()


class Unprintable(Exception):
    """Its text can't be had."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def __str__(self) -> str:
        raise self.error("no text for you")


def _raise(error: BaseException) -> Any:
    raise error


def _spin(payload: Payload, ctx: Context) -> Any:
    until = time.monotonic() + payload.get("seconds", 20)
    while time.monotonic() < until:
        pass
    return "never interrupted"


def _die(payload: Payload, ctx: Context) -> Any:
    os._exit(payload.get("code", 9))


def _report(payload: Payload, ctx: Context) -> Any:
    ctx.progress(40, "half way, nearly")
    ctx.log("first line")
    ctx.log("second line", "warning")
    return "reported"


def _enqueue(payload: Payload, ctx: Context) -> Any:
    child = enqueue("act", {"of": str(ctx.job_id)}, tags=["child"])
    if payload.get("commit"):
        db.session.commit()
    if then := payload.get("then"):
        ACTS[then](payload, ctx)
    return str(child)


def _report_and_wait(payload: Payload, ctx: Context) -> Any:
    _report(payload, ctx)
    if "file" in payload:
        note(payload, ctx, "start")
    while not Path(payload["until"]).exists():
        ctx.sleep(0.02)
    return "reported"


def _clean_up(payload: Payload, ctx: Context) -> Any:
    note(payload, ctx, "start")
    try:
        # Asleep in C, it can't look at the request.
        (time.sleep if payload.get("is_deaf") else ctx.sleep)(60)
    except Cancel:
        note(payload, ctx, "cancelled")
        raise
    finally:
        note(payload, ctx, "cleaned")


def _start_a_program(payload: Payload, ctx: Context) -> Any:
    program = subprocess.Popen(["sleep", "300"])
    ctx.log(str(program.pid))
    program.wait()


def _leave_a_thread(payload: Payload, ctx: Context) -> Any:
    threading.Thread(target=time.sleep, args=[300], daemon=False).start()
    return "left"


def _leave_an_executor(payload: Payload, ctx: Context) -> Any:
    ThreadPoolExecutor().submit(time.sleep, 300)
    return "left"


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def _leak(payload: Payload, ctx: Context) -> Any:
    db.session.execute(text("SELECT 1"))
    return "left a transaction open"


def _log_without_end(payload: Payload, ctx: Context) -> Any:
    for n in range(20_000):
        ctx.log(f"line {n} " + "x" * 100)
    return "said enough"


def _fork(payload: Payload, ctx: Context) -> Any:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "forked"


def _stop_the_fork_server(payload: Payload, ctx: Context) -> Any:
    os.kill(os.getppid(), signal.SIGSTOP)
    return os.getppid()


ACTS: dict[str, Callable[[Payload, Context], Any]] = {
    "return": lambda payload, ctx: payload.get("value"),
    "raise": lambda payload, ctx: _raise(ValueError(payload.get("message", "boom"))),
    "permanent": lambda payload, ctx: _raise(Permanent("no such customer")),
    "snooze": lambda payload, ctx: _raise(Snooze(payload["seconds"], "too early")),
    "cancel": lambda payload, ctx: _raise(Cancel("nothing to do")),
    "retry after": lambda payload, ctx: _raise(RetryAfter(payload["seconds"], "busy there")),
    "exit": lambda payload, ctx: _raise(SystemExit(3)),
    "interrupt": lambda payload, ctx: _raise(KeyboardInterrupt()),
    "memory": lambda payload, ctx: _raise(MemoryError()),
    "unprintable": lambda payload, ctx: _raise(Unprintable(ValueError)),
    "unprintable, exits": lambda payload, ctx: _raise(Unprintable(SystemExit)),
    "return a set": lambda payload, ctx: {1, 2},
    "return nan": lambda payload, ctx: float("nan"),
    "return infinity": lambda payload, ctx: float("1e400"),
    "return a nul": lambda payload, ctx: {"text": "a\0b"},
    "return a surrogate": lambda payload, ctx: "\ud800",
    "return a date": lambda payload, ctx: {
        "at": datetime(2026, 11, 25, 12, tzinfo=UTC),
        "sum": Decimal("1.10"),
    },
    "return nested": lambda payload, ctx: _nested(payload["depth"]),
    "return big": lambda payload, ctx: "x" * payload["size"],
    "raise with a nul": lambda payload, ctx: _raise(ValueError("a\0b \ud800")),
    "spin": _spin,
    "hold the gil": lambda payload, ctx: sum(range(10**12)),  # no bytecode, no signal check
    "die": _die,
    "leak": _leak,
    "log without end": _log_without_end,
    "fork": _fork,
    "stop the fork server": _stop_the_fork_server,
    "report": _report,
    "enqueue": _enqueue,
    "report and wait": _report_and_wait,
    "report and die": lambda payload, ctx: (_report(payload, ctx), _die(payload, ctx)),
    "clean up": _clean_up,
    "start a program": _start_a_program,
    "leave a thread": _leave_a_thread,
    "leave an executor": _leave_an_executor,
    "attempt": lambda payload, ctx: {"attempt": ctx.attempt, "pid": os.getpid()},
    "wait for cancel": lambda payload, ctx: ctx.sleep(payload.get("seconds", 30)),
}


@job("act", description="Ends as the payload says.")
def act(payload: Payload, ctx: Context) -> Any:
    """Ends as the payload says."""
    return ACTS[payload.get("do", "return")](payload, ctx)


@job("act-apart", isolate=True)
def act_apart(payload: Payload, ctx: Context) -> Any:
    """The same in a child process."""
    return act(payload, ctx)


@job("act-once", max_crashes=0)
def act_once(payload: Payload, ctx: Context) -> Any:
    """The same, at most once."""
    return act(payload, ctx)


class PersonSchema(Schema):
    """``{"name": "Ada"}``"""

    name = fields.String(required=True)


@job("greet", schema=PersonSchema)
def greet(payload: Payload) -> str:
    """Greets a person; its payload has a schema."""
    return f"Hello {payload['name']}"


@job("gate")
def gate(payload: Payload, ctx: Context) -> str:
    """Waits until the test opens the gate (same process only)."""
    if payload.get("report"):
        _report(payload, ctx)
    gate_reached.set()
    if not gate_opened.wait(120):
        raise TimeoutError("nobody opened the gate")
    ctx.raise_if_cancelled()
    return "through"


@job("ledger", backoff=[0.1])
def ledger(payload: Payload, ctx: Context) -> str:
    """Writes down that it started and ended, in between as the payload says.

    ``{"file", "name"}`` and one of ``seconds``, ``until`` (a file that appears), ``fail_times``, ``kill_worker``.
    """
    note(payload, ctx, "start")
    if ctx.attempt <= payload.get("fail_times", 0):
        raise ValueError(f"attempt {ctx.attempt} fails on purpose")
    if payload.get("kill_worker"):
        os.kill(payload["kill_worker"], signal.SIGKILL)
    ctx.sleep(payload.get("seconds", 0))
    if until := payload.get("until"):
        while not Path(until).exists():
            ctx.sleep(0.02)
    note(payload, ctx, "end")
    return str(payload["name"])


@job("throttle")
def throttle(payload: Payload, ctx: Context) -> str:
    """Closes its key (or ``scope``) for ``seconds`` the first time, and completes the second time."""
    note(payload, ctx, "start")
    if (
        "seconds" in payload
        and Path(payload["file"]).read_text().count(f"{payload['name']} start") == 1
    ):
        raise Throttle(payload["seconds"], payload.get("scope", "key"), "429 Too Many Requests")
    return str(payload["name"])


@job("throttle-apart", isolate=True)
def throttle_apart(payload: Payload, ctx: Context) -> str:
    """The same in a child process."""
    return throttle(payload, ctx)


@job("ledger-once", max_crashes=0)
def ledger_once(payload: Payload, ctx: Context) -> str:
    """The same, at most once."""
    return ledger(payload, ctx)


@job("ledger-apart", isolate=True, backoff=[0.1])
def ledger_apart(payload: Payload, ctx: Context) -> str:
    """The same in a child process."""
    return ledger(payload, ctx)


@job("sleep-in-c")
def sleep_in_c(payload: Payload) -> None:
    """One call that no exception interrupts."""
    time.sleep(payload["seconds"])


@job("poison", backoff=[0.1])
def poison(payload: Payload, ctx: Context) -> None:
    """Kills the process it runs in, whichever that is."""
    note(payload, ctx, "start")
    os.kill(os.getpid(), signal.SIGKILL)


@job("secrets")
def secrets(payload: Payload) -> list[str]:
    """Which web secrets it finds."""
    settings = current_app.extensions["settings"]
    names = [name for name in WEB_SECRETS if name in os.environ]
    return names + [name for name in ("api_tokens", "dashboard_users") if getattr(settings, name)]


@job("secrets-apart", isolate=True)
def secrets_apart(payload: Payload) -> list[str]:
    return secrets(payload)


def note(payload: Payload, ctx: Context, event: str) -> None:
    """Appends a line to the ledger; one write, so that lines of several processes stay whole."""
    line = f"{payload['name']} {event} {ctx.attempt} {os.getpid()}\n"
    file = os.open(payload["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)
