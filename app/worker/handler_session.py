"""The handler's ``db.session``: committed when it returns, rolled back when it raises, closed with its attempt."""

from __future__ import annotations

import logging

from app.extensions import db

log = logging.getLogger("app.jobs")


def _has_session() -> bool:
    sessions = db.session.registry
    # Looking for the one of this context takes longer than seeing that no thread has any.
    return bool(sessions.registry) and sessions.has()


def commit_session() -> None:
    """Commit what the handler left uncommitted in ``db.session``; raises what the commit raises."""
    if _has_session():
        db.session.commit()


def roll_back_session() -> None:
    """Roll back what the handler left uncommitted in ``db.session``, enqueued jobs included."""
    if _has_session():
        try:
            db.session.rollback()
        except Exception:
            log.exception("Could not roll back a handler's session")
            close_session()


def close_session() -> None:
    """Close the handler's session, at the end of its attempt."""
    if _has_session():
        try:
            db.session.remove()
        except Exception:
            log.exception("Could not close a handler's session")
