"""Schedules: late ones, and runs that were missed or failed."""

from __future__ import annotations

from app.doctor.finding import OK, WARNING, Finding
from app.extensions import current_settings, db
from app.jobs.schedules import figures
from app.jobs.schedules.figures import Named
from app.jobs.schedules.history import TROUBLE_HOURS


def check_late() -> Finding:
    late = figures.late(db.session, alive_seconds=current_settings().lease_seconds)
    if not late.count:
        return Finding("schedules", OK, "none late")
    message = f"{late.count} late: {_names(late)}"
    if late.unknown_types:
        message += f"; no live worker knows type {', '.join(late.unknown_types)}"
    else:
        message += "; is a worker running?"
    return Finding("schedules", WARNING, message)


def check_missed() -> Finding:
    name = "scheduled runs"
    troubled = figures.troubled(db.session)
    if not troubled.count:
        return Finding(name, OK, f"none missed or failed in {TROUBLE_HOURS} hours")
    message = (
        f"{troubled.count} missed or failed in {TROUBLE_HOURS} hours: {_names(troubled)};"
        " the pages of these schedules say why"
    )
    return Finding(name, WARNING, message)


def _names(named: Named) -> str:
    more = ", …" if named.count > len(named.names) == figures.NAMED else ""
    return ", ".join(named.names) + more
