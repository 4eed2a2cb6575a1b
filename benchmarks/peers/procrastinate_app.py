"""Procrastinate: jobs in PostgreSQL, LISTEN/NOTIFY as its trigger."""

from __future__ import annotations

import os
from typing import Any

import procrastinate

from benchmarks.peers.client import stamp

DSN = os.environ.get("DATABASE_URL", "")
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=DSN, min_size=1, max_size=7)
)
_is_open = False


@app.task(name="work")
async def work(payload: dict[str, Any]) -> None:
    stamp(payload)


def _open() -> Any:
    global _is_open
    if not _is_open:
        app.open()  # its synchronous interface, for plain calls
        _is_open = True
    return work


def setup() -> None:
    _open()
    app.schema_manager.apply_schema()


def enqueue(payload: dict[str, Any]) -> None:
    _open().defer(payload=payload)


def enqueue_many(payloads: list[dict[str, Any]]) -> None:
    _open().batch_defer(*[{"payload": p} for p in payloads])
