"""Procrastinate: jobs in PostgreSQL, LISTEN/NOTIFY as its trigger."""

from __future__ import annotations

import os
from typing import Any

import procrastinate

from benchmarks.peers.client import stamp

DSN = os.environ.get("DATABASE_URL", "")
#: The worker's; the connector for plain calls is its synchronous face.
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=DSN, min_size=1, max_size=7)
)
_calls = procrastinate.SyncPsycopgConnector(conninfo=DSN)
_is_open = False


@app.task(name="work")
async def work(payload: dict[str, Any]) -> None:
    stamp(payload)


def _open() -> Any:
    global _is_open, _caller
    if not _is_open:
        _caller = app.with_connector(_calls)
        _caller.open()
        _is_open = True
    return _caller.configure_task("work", allow_unknown=True)


_caller: Any = None


def setup() -> None:
    _open()
    _caller.schema_manager.apply_schema()


def enqueue(payload: dict[str, Any]) -> None:
    _open().defer(payload=payload)


def enqueue_many(payloads: list[dict[str, Any]]) -> None:
    _open().batch_defer(*[{"payload": p} for p in payloads])
