"""This project by its Python call: each job committed to PostgreSQL, then published."""

from __future__ import annotations

from typing import Any

from app import create_app
from app.extensions import db
from app.jobs import Context, enqueue_and_commit, job, lifecycle
from app.jobs.lifecycle import NewJob
from benchmarks.peers.client import stamp


@job("work")
def work(payload: dict[str, Any], ctx: Context) -> None:
    stamp(payload)


_app = None


def enqueue(payload: dict[str, Any]) -> None:
    _enter_app()
    enqueue_and_commit("work", payload)


def _enter_app() -> None:
    global _app
    if _app is None:
        _app = create_app()
        _app.app_context().push()


def enqueue_many(payloads: list[dict[str, Any]]) -> None:
    _enter_app()
    lifecycle.enqueue(db.session, [NewJob("work", p) for p in payloads])
    db.session.commit()
