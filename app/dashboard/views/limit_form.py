"""Forms of limits: new, edit or override, one key, and what is under a limit."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, flash, make_response, redirect, request, url_for

from app.dashboard import cached_reads, limit_form, render
from app.dashboard.blueprint import dashboard
from app.dashboard.forms import FieldForm, number_of
from app.dashboard.redirects import commit
from app.dashboard.views.limits import KINDS, key_of, kind_of
from app.errors import JobQueueError, ValidationFailed
from app.extensions import db
from app.jobs.limits import attach, listing, listing_keys, store
from app.jobs.limits.definition import KEY_CONCURRENCY_RULE, MAX_CONCURRENCY
from app.jobs.limits.listing import LimitSummary
from app.security import actor
from app.security.authentication import require
from app.security.roles import requires


@dashboard.get("/new-limit")
@requires("viewer")
def new_limit() -> Response:
    require("operator")
    return _page(limit_form.of_form(request.args), None)


@dashboard.post("/new-limit")
@requires("operator")
def create_limit() -> Response:
    form = limit_form.of_form(request.form)
    name = form.values["name"]

    def create() -> None:
        definition = limit_form.definition_of(form)
        if any(limit.name == name for limit in listing.list_limits(db.session)):
            raise ValidationFailed({"name": ["is taken; edit that limit instead."]})
        store.put_limit(db.session, definition, by=actor())

    return _saved(form, None, create, name, f"Limit {name} created.")


@dashboard.get("/limits/<name>/edit")
@requires("viewer")
def edit_limit(name: str) -> Response:
    require("operator")
    limit = listing.get_limit(db.session, name)
    return _page(limit_form.of_limit(limit), limit)


@dashboard.post("/limits/<name>/edit")
@requires("operator")
def save_limit(name: str) -> Response:
    """Of a limit that code defines, the numbers that differ become an override."""
    limit = listing.get_limit(db.session, name)
    form = limit_form.of_form({**request.form, "name": name})
    is_code = limit.source == "code"

    def save() -> None:
        if is_code:
            store.check(limit_form.definition_of(form))
            if changes := limit_form.changes_of(form, limit):
                store.patch_limit(db.session, name, changes, by=actor())
        else:
            store.put_limit(db.session, limit_form.definition_of(form), by=actor())

    became = f"Numbers of limit {name} overridden." if is_code else f"Limit {name} changed."
    return _saved(form, limit, save, name, became)


@dashboard.get("/limits/<name>/key")
@requires("viewer")
def edit_limit_key(name: str) -> Response:
    require("operator")
    key = key_of(request.args.get("key"))
    return _key_page(listing.get_limit(db.session, name), key)


@dashboard.post("/limits/<name>/key")
@requires("operator")
def save_limit_key(name: str) -> Response:
    limit, key = listing.get_limit(db.session, name), key_of(request.form.get("key"))
    text = request.form.get("concurrency", "").strip()
    n = number_of(text)
    if n is not None and not (isinstance(n, int) and 1 <= n <= MAX_CONCURRENCY):
        return _key_page(limit, key, text, KEY_CONCURRENCY_RULE)
    store.set_key_concurrency(db.session, name, key, concurrency=n, by=actor())
    return _stored(name, f"Key {key} of limit {name} changed.")


@dashboard.get("/limits/<name>/attach")
@requires("viewer")
def attach_form(name: str) -> Response:
    require("operator")
    return _attach_page(listing.get_limit(db.session, name))


@dashboard.post("/limits/<name>/attach")
@requires("operator")
def attach_limit(name: str) -> Response:
    limit = listing.get_limit(db.session, name)
    use = request.form.get("use", "")
    kind, _, of = use.partition(":")
    try:
        if not of:
            raise ValidationFailed({"use": ["choose a job type or a queue."]})
        attach.set_limit(db.session, kind_of(kind), of, name, by=actor())
    except JobQueueError as refusal:
        db.session.rollback()
        return _attach_page(limit, use, refusal)
    return _stored(name, f"{KINDS[kind]} {of} is under limit {name} now.")


def _saved(
    form: FieldForm,
    limit: LimitSummary | None,
    save: Callable[[], None],
    name: str,
    message: str,
) -> Response:
    try:
        save()
    except JobQueueError as refusal:
        db.session.rollback()
        form.refuse(refusal.errors or {"": [str(refusal)]})
        return _page(form, limit, refusal.http_status)
    return _stored(name, message)


def _page(form: FieldForm, limit: LimitSummary | None, status: int = 200) -> Response:
    return render.page("limits/form.html", None, status=status, form=form, limit=limit)


def _key_page(
    limit: LimitSummary, key: str, text: str | None = None, problem: str = ""
) -> Response:
    own = listing_keys.get_key(db.session, limit.name, key)
    shown = text if text is not None else ("" if own.concurrency is None else str(own.concurrency))
    return render.page(
        "limits/key.html", None, status=422 if problem else 200,
        limit=limit, key=key, text=shown, problem=problem,
    )  # fmt: skip


def _attach_page(
    limit: LimitSummary, chosen: str = "", refusal: JobQueueError | None = None
) -> Response:
    """Everything that is under no limit yet, or under another one."""
    errors = (refusal.errors if refusal else None) or {}
    problem = " ".join(errors.get("use", [])) or (str(refusal) if refusal else "")
    return render.page(
        "limits/attach.html",
        None,
        status=refusal.http_status if refusal else 200,
        limit=limit,
        chosen=chosen,
        problem=problem,
        type_names=[name for name in cached_reads.type_names() if name not in limit.types],
        queue_names=[q.name for q in cached_reads.queues() if q.name not in limit.queues],
    )


def _stored(name: str, message: str) -> Response:
    commit()
    flash(message, "done")
    return make_response(redirect(url_for("dashboard.limit", name=name), 303))
