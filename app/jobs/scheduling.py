"""Schedules from Python: what ``app.jobs.put_schedule`` and ``delete_schedule`` do.

For schedules that depend on data, such as one per customer; those of the code are declared by ``schedule``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.errors import ValidationFailed
from app.extensions import db
from app.jobs.schedules import rules, store
from app.jobs.schedules.definition import Schedule

#: The actor in the audit log.
PYTHON = "python"


def put_schedule(
    name: str,
    type: str,
    payload: Mapping[str, Any] | None = None,
    *,
    by: str = PYTHON,
    **options: Any,
) -> bool:
    """Create or replace a schedule in the transaction of ``db.session``; returns whether it is new.

    ``options`` are the fields of ``Schedule``. Repeating it changes nothing. ``by`` is the actor in the audit log. Raises
    UnknownJobType, ValidationFailed, and ScheduleDefinedInCode for a name that code declares; nothing is written then.
    """
    given = Schedule(payload={} if payload is None else payload, **options)
    try:
        return store.put(db.session, given.definition(name, type), by=by)
    except ValidationFailed as error:
        raise ValidationFailed(
            {
                rules.in_python(field): [rules.in_python(text) for text in texts]
                for field, texts in (error.errors or {}).items()
            }
        ) from None


def delete_schedule(name: str, *, by: str = PYTHON) -> None:
    """Delete a schedule in the transaction of ``db.session``; its jobs stay.

    Raises ScheduleNotFound and ScheduleDefinedInCode.
    """
    store.delete(db.session, name, by=by)
