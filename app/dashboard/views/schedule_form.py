"""New schedule, and edit; the live preview of its next runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response, flash, make_response, redirect, request, url_for

from app import clock
from app.dashboard import render, schedule_form
from app.dashboard.blueprint import dashboard
from app.dashboard.present.schedule_words import MISSED, OVERLAPS
from app.dashboard.redirects import commit
from app.dashboard.schedule_form import ScheduleForm
from app.errors import JobQueueError, ValidationFailed
from app.extensions import db
from app.jobs import registry
from app.jobs.models import ScheduleRow
from app.jobs.schedules import listing, preview, rules, store, zones
from app.jobs.schedules.definition import description
from app.security import actor
from app.security.authentication import require
from app.security.roles import requires

PREVIEWED_RUNS = 5
#: Field of the API → its name in the form.
PREVIEWED = {"cron": "Line", "everySeconds": "Interval", "timeZone": "Time zone"}


@dashboard.get("/new-schedule")
@requires("viewer")
def new_schedule() -> Response:
    # The form shows the whole payload, including secrets.
    require("operator")
    form = schedule_form.of_form(request.args)
    return _page(form, None)


@dashboard.post("/new-schedule")
@requires("operator")
def create_schedule() -> Response:
    form = schedule_form.of_form(request.form)
    if "preview" in request.form:
        return _page(form, None)
    try:
        definition = schedule_form.definition_of(form)
        store.create(db.session, definition, by=actor())
    except JobQueueError as refusal:
        return _refused(form, None, refusal)
    return _stored(definition.name, "created")


@dashboard.get("/schedules/<name>/edit")
@requires("viewer")
def edit_schedule(name: str) -> Response:
    # The form shows the whole payload, including secrets.
    require("operator")
    row = listing.get_schedule(db.session, name)
    return _page(schedule_form.of_row(row), row)


@dashboard.post("/schedules/<name>/edit")
@requires("operator")
def save_schedule(name: str) -> Response:
    row = listing.get_schedule(db.session, name)
    form = schedule_form.of_form({**request.form, "name": name})
    if "preview" in request.form:
        return _page(form, row)
    try:
        definition = schedule_form.definition_of(form, starts_at=row.starts_at)
        store.put(db.session, definition, by=actor())
    except JobQueueError as refusal:
        return _refused(form, row, refusal)
    return _stored(name, "changed")


@dashboard.get("/schedule-preview")
@requires("viewer")
def preview_schedule() -> Response:
    """The next runs of the line in the form, while it is being typed."""
    form = schedule_form.of_form(request.args)
    return render.page("schedules/preview.html", "schedules/_preview.html", **_preview(form))


@dashboard.get("/schedule-payload")
@requires("viewer")
def payload_fields() -> Response:
    """Which fields the payload of the chosen type has."""
    fields = list(_fields_of(request.args.get("type", "")))
    return render.page("schedules/preview.html", "schedules/_payload.html", fields=fields)


def _page(form: ScheduleForm, row: ScheduleRow | None, status: int = 200) -> Response:
    return render.page(
        "schedules/form.html",
        None,
        status=status,
        row=row,
        type_names=sorted({*registry.names(), *([row.type] if row else [])}),
        fields=list(_fields_of(form.values["type"])),
        overlaps={name: OVERLAPS[name] for name in rules.OVERLAPS},
        missed=MISSED,
        units=list(schedule_form.UNITS),
        zone_names=zones.names(),
        **_preview(form),
    )


def _preview(form: ScheduleForm) -> dict[str, Any]:
    facts: dict[str, Any] = {"sentence": "", "runs": [], "problem": "", "form": form}
    if form.is_cron and not form.values["cron"]:
        return facts
    try:
        when = schedule_form.when_of(form)
    except ValidationFailed as refusal:
        [name, texts] = next(iter((refusal.errors or {}).items()))
        return facts | {"problem": f"{PREVIEWED[name]}: {texts[0]}"}
    runs = preview.next_runs(when, after=clock.now(), count=PREVIEWED_RUNS)
    return facts | {"sentence": description(when), "runs": runs}


def _fields_of(type_name: str) -> Iterator[tuple[str, bool]]:
    """(name, whether it is required) of the payload's fields, for a type with a schema."""
    job_type = registry.find(type_name)
    if job_type is None or job_type.schema is None:
        return
    for name, spec in job_type.schema.load_fields.items():
        yield str(spec.data_key or name), bool(spec.required)


def _refused(form: ScheduleForm, row: ScheduleRow | None, refusal: JobQueueError) -> Response:
    db.session.rollback()
    form.refuse(refusal.errors or {"": [str(refusal)]})
    return _page(form, row, refusal.http_status)


def _stored(name: str, became: str) -> Response:
    commit()
    flash(f"Schedule {name} {became}.", "done")
    return make_response(redirect(url_for("dashboard.schedule", name=name), 303))
