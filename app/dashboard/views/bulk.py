"""Bulk actions on all jobs that match a list's filter: preview, confirmation, progress."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Response, flash, make_response, redirect, request, url_for

from app import clock
from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.forms import check_verb, edit_changes
from app.dashboard.list_query import JobQuery
from app.dashboard.present.bulk_words import ASKS_ABOVE, DONE, became_of, choices, title
from app.dashboard.present.search import masked_search
from app.dashboard.redirects import leave
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs import bulk
from app.jobs.bulk import scope as bulk_scope
from app.jobs.bulk.scope import Scope
from app.jobs.committed import Moment
from app.jobs.models import BulkAction
from app.jobs.verbs import VERBS
from app.security import MASK, actor, may_search_payloads
from app.security.roles import requires

#: Older previews have to be opened again.
PREVIEW_HOURS = 24
#: The search in a description.
_SEARCH = re.compile("“.*”", re.DOTALL)


@dashboard.get("/jobs/all")
@requires("viewer")
def bulk_preview() -> Response:
    """What each verb would do, or only the verb in the parameter ``verb``."""
    query = JobQuery.parse(request.args)
    only = request.args.get("verb") or None
    if only is not None:
        check_verb(only)
    scope = bulk_scope.take_scope(db.session)
    preview = bulk_scope.preview(db.session, query.filter(scope.as_of), scope)
    return render.page(
        "bulk/preview.html", None, query=query, preview=preview, scope=preview.scope, only=only,
        choices=choices(preview, only), description=describe(query),
    )  # fmt: skip


@dashboard.post("/jobs/all")
@requires("operator")
def bulk_start() -> Response:
    """Starts an action on the previewed jobs. An unconfirmed deletion asks first."""
    query = JobQuery.parse(request.args)
    verb = request.form.get("verb", "")
    check_verb(verb)
    args = edit_changes(request.form) if verb == "edit" else {}
    scope, expected = _previewed(request.form)
    if verb == "delete":
        if expected is None:
            message = (
                "delete needs an exact count; narrow the filter by status, type, queue or time."
            )
            raise ValidationFailed({"verb": [message]})
        if (problem := _not_confirmed(expected)) is not None:
            return render.page(
                "bulk/confirm.html", None, status=422 if problem else 200, query=query, scope=scope, n=expected,
                title=title(verb, expected), is_typed=expected > ASKS_ABOVE, problem=problem, description=describe(query),
            )  # fmt: skip
    number = bulk.create(
        db.session, verb, query.filter(scope.as_of), scope=scope, expected=expected, by=actor(), args=args,
        description=": ".join([describe(query), *filter(None, [_described(args)])]), link=query.named(),
    )  # fmt: skip
    db.session.commit()
    return leave(url_for("dashboard.bulk_action", number=number))


def _previewed(form: Mapping[str, str]) -> tuple[Scope, int | None]:
    """The scope of the preview and how many jobs it counted for the verb; None if counting took too long."""
    try:
        as_of, upto = datetime.fromisoformat(form["as_of"]), UUID(form["upto"])
        moment = Moment.parse(form["moment"])
        expected = int(form["expected"]) if form["expected"] else None
        if as_of.tzinfo is None or (expected or 0) < 0:
            raise ValueError
    except (KeyError, ValueError):
        raise ValidationFailed(
            {"preview": ["is missing; open “Act on all matching jobs” first."]}
        ) from None
    now = clock.now()
    if not now - timedelta(hours=PREVIEW_HOURS) < as_of < now + timedelta(hours=PREVIEW_HOURS):
        raise ValidationFailed({"preview": ["is too old; open it again."]})
    return Scope(as_of, upto, moment), expected


def _not_confirmed(n: int) -> str | None:
    """None if the deletion is confirmed; otherwise the problem to show, "" before the user was asked."""
    if request.form.get("confirmed") != "yes":
        return ""
    typed = "".join(c for c in request.form.get("typed", "") if c.isdigit())
    if n > ASKS_ABOVE and typed != str(n):
        return f"Type {n} to confirm. Nothing was deleted."
    return None


@dashboard.get("/bulk")
@requires("viewer")
def bulk_actions() -> Response:
    return render.page(
        "bulk/index.html", "bulk/_table.html", actions=bulk.latest(db.session), title=title,
        described=described,
    )  # fmt: skip


@dashboard.get("/bulk/<int:number>")
@requires("viewer")
def bulk_action(number: int) -> Response:
    action = bulk.find(db.session, number)
    return render.page(
        "bulk/show.html", "bulk/_action.html", action=action, title=title(action.verb, action.total),
        done_words=DONE[action.verb], became=_became(action), is_settled=_is_settled(action),
        description=described(action), link=_link(action),
    )  # fmt: skip


def described(action: BulkAction) -> str:
    """The description of its jobs; the search is masked for readers who may not search payloads."""
    if may_search_payloads():
        return action.description
    q = masked_search(action.scope["q"]) if "q" in action.scope else MASK
    # An action without a stored filter may come from a release that stored it only in the description.
    is_searched = "q" in action.scope or not action.scope
    return (
        _SEARCH.sub(lambda _: f"“{q}”", action.description) if is_searched else action.description
    )


def _link(action: BulkAction) -> dict[str, str] | None:
    """The list of its jobs; None if the address would show more than the reader may see."""
    q = action.scope.get("q", "")
    return action.scope if may_search_payloads() or not q or masked_search(q) == q else None


def _became(action: BulkAction) -> Any:
    return became_of(action, cached_reads.outcome(action)) if action.done else []


def _is_settled(action: BulkAction) -> bool:
    """Whether its figures have stopped changing."""
    if not action.finished_at or not action.done or VERBS[action.verb].is_last:
        return bool(action.finished_at)
    now = cached_reads.outcome(action).by_status
    return not now["pending"] + now["processing"]


@dashboard.post("/bulk/<int:number>/<any(pause, resume, stop):what>")
@requires("operator")
def steer_bulk(number: int, what: str) -> Response:
    check_verb(bulk.find(db.session, number).verb)
    {"pause": bulk.pause, "resume": bulk.resume, "stop": bulk.stop}[what](
        db.session, number, by=actor()
    )
    db.session.commit()
    words = {
        "pause": "paused",
        "resume": "resumed",
        "stop": "stopped. Changes already made are not undone",
    }
    flash(f"Bulk action {number} {words[what]}.", "done")
    return make_response(redirect(url_for("dashboard.bulk_action", number=number), 303))


def _described(args: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in args.items())


def describe(query: JobQuery) -> str:
    """The list as text: "Failed jobs, type echo"."""
    return ", ".join([query.label, *(chip.label for chip in query.chips())])
