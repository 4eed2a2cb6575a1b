"""Job types of the chaos run (JOB_MODULES=benchmarks.chaos.handlers): handlers that write the ledger and misbehave."""

from __future__ import annotations

import os
import time
from typing import Any

from sqlalchemy import text

from app.extensions import db
from app.jobs import Context, job

LEDGER = os.environ.get("CHAOS_LEDGER", "chaos.ledger")


def note(ctx: Context, event: str) -> None:
    """One line, one write: lines of several processes stay whole, and a kill leaves no half."""
    line = f"{time.time():.6f} {ctx.job_id} {event} {ctx.attempt} {os.getpid()}\n"
    file = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


def behave(payload: dict[str, Any], ctx: Context) -> Any:
    """What the kind says, between two lines of the ledger."""
    note(ctx, "start")
    kind = payload["kind"]
    if kind == "slow":
        ctx.sleep(payload["times"] * 0.5)
    elif kind == "flaky" and ctx.attempt <= payload["times"]:
        raise ConnectionError("the other side did not answer")
    elif kind == "hopeless":
        raise SystemExit("leaves")
    elif kind == "deadly":
        os._exit(9)
    elif kind == "leaky":
        # A transaction left open, and a session used across the end of the attempt.
        db.session.execute(text("SELECT 1"))
    note(ctx, "end")
    # A result that JSON can't represent is stored as text.
    return {1, 2} if kind == "odd" else {"number": payload["number"]}


@job("chaos", max_attempts=5)
def chaos(payload: dict[str, Any], ctx: Context) -> Any:
    """Behaves as its kind says."""
    return behave(payload, ctx)


@job("chaos-apart", isolate=True, max_attempts=5)
def chaos_apart(payload: dict[str, Any], ctx: Context) -> Any:
    """The same in a child process."""
    return behave(payload, ctx)
