"""Bulk actions on all jobs that match a list's filter: preview, confirmation, progress."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Response, flash, make_response, redirect, request, url_for

from app.dashboard import render
from app.dashboard.blueprint import dashboard
from app.dashboard.forms import check_verb, edit_changes, speed_of
from app.dashboard.list_query import JobQuery
from app.dashboard.present.bulk_words import (
    ASKS_ABOVE,
    DONE,
    SPEEDS,
    became_of,
    breakdowns,
    choices,
    is_asked,
    late_line,
    of_what,
    question,
    status_line,
    title,
    title_of,
    undo_label,
)
from app.dashboard.present.search import masked_search
from app.dashboard.redirects import commit, leave
from app.extensions import db
from app.jobs import bulk
from app.jobs.bulk import scope as bulk_scope
from app.jobs.bulk.tickets import Ticket
from app.jobs.models import BulkAction
from app.jobs.verbs import VERBS
from app.security import MASK, actor, may_search_payloads
from app.security.authentication import require
from app.security.roles import requires

#: The search in a description.
_SEARCH = re.compile("“.*”", re.DOTALL)


@dashboard.get("/jobs/all")
@requires("viewer")
def bulk_preview() -> Response:
    """What can be done with the jobs; with the parameter ``verb``, what that verb would do, to be confirmed."""
    query = JobQuery.parse(request.args)
    only = request.args.get("verb") or None
    if only is not None:
        check_verb(only)
    scope = bulk_scope.take_scope(db.session)
    filter = query.filter(scope.as_of)
    preview = bulk_scope.preview(db.session, filter, scope)
    options = choices(preview, only)
    if only is None or not options:
        return render.page(
            "bulk/preview.html", None, query=query, preview=preview, choices=options, description=describe(query)
        )  # fmt: skip
    [choice] = options
    ticket = Ticket.of(choice.verb, filter, preview.scope, choice.expected)
    return render.page(
        "bulk/verb.html", None, query=query, preview=preview, choice=choice, ticket=ticket, description=describe(query),
        breakdowns=breakdowns(preview, choice.verb), of_what=of_what(preview, choice.verb), span=preview.span(choice.verb),
        question=question(choice.verb, choice.expected) if choice.is_asked else None, speeds=SPEEDS,
    )  # fmt: skip


@dashboard.post("/jobs/all")
@requires("operator")
def bulk_start() -> Response:
    """Starts an action on the previewed jobs. Where scripts would have asked, an unconfirmed one asks first."""
    query = JobQuery.parse(request.args)
    verb = request.form.get("verb", "")
    check_verb(verb)
    args = edit_changes(request.form) if verb == "edit" else {}
    per_second = speed_of(request.form)
    ticket = Ticket.parse(request.form.get("preview", ""))
    jobs = query.filter(ticket.scope.as_of)
    ticket.check(verb, jobs)
    n = ticket.expected
    if is_asked(verb, n) and (problem := _not_confirmed(n)) is not None:
        return render.page(
            "bulk/confirm.html", None, status=422 if problem else 200, query=query, ticket=ticket, n=n, verb=verb,
            title=title(verb, n), question=question(verb, n), is_typed=n is not None and n > ASKS_ABOVE, problem=problem,
            description=describe(query), per_second=per_second or "",
        )  # fmt: skip
    number = bulk.create(
        db.session, verb, jobs, scope=ticket.scope, expected=n, by=actor(), args=args,
        description=": ".join([describe(query), *filter(None, [_described(args)])]), link=query.named(),
        grace_seconds=bulk.GRACE_SECONDS, per_second=per_second, preview_key=ticket.key,
    )  # fmt: skip
    commit()
    return leave(url_for("dashboard.bulk_action", number=number))


def _not_confirmed(n: int | None) -> str | None:
    """None if it is confirmed; otherwise the problem to show, "" before the user was asked."""
    if request.form.get("confirmed") != "yes":
        return ""
    typed = "".join(c for c in request.form.get("typed", "") if c.isdigit())
    if n is not None and n > ASKS_ABOVE and typed != str(n):
        return f"Type {n} to confirm. Nothing was changed."
    return None


@dashboard.get("/bulk")
@requires("viewer")
def bulk_actions() -> Response:
    return render.page(
        "bulk/index.html", "bulk/_table.html", actions=bulk.latest(db.session), title_of=title_of,
        described=described,
    )  # fmt: skip


@dashboard.get("/bulk/<int:number>")
@requires("viewer")
def bulk_action(number: int) -> Response:
    action = bulk.find(db.session, number)
    outcome = bulk.outcome(db.session, action)
    undo = bulk.undo_of(db.session, number)
    return render.page(
        "bulk/show.html", "bulk/_action.html", action=action, title=title_of(action), role=action.role,
        status_line=status_line(action), late_line=late_line(action), done_words=DONE[action.verb], outcome=outcome,
        became=became_of(action, outcome), is_settled=_is_settled(action, outcome), description=described(action),
        link=_link(action), undo=undo, undo_label=None if undo else undo_label(action, outcome),
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


def _is_settled(action: BulkAction, outcome: bulk.Outcome) -> bool:
    """Whether its figures have stopped changing."""
    is_last = action.undo_of is None and VERBS[action.verb].is_last
    waiting = outcome.by_status["pending"] + outcome.by_status["processing"]
    return bool(action.finished_at) and (is_last or not waiting)


@dashboard.post("/bulk/<int:number>/<any(pause, resume, stop):what>")
@requires("operator")
def steer_bulk(number: int, what: str) -> Response:
    require(bulk.find(db.session, number).role)
    {"pause": bulk.pause, "resume": bulk.resume, "stop": bulk.stop}[what](
        db.session, number, by=actor()
    )
    commit()
    words = {
        "pause": "paused",
        "resume": "resumed",
        "stop": "stopped. Changes already made are not undone",
    }
    flash(f"Bulk action {number} {words[what]}.", "done")
    return make_response(redirect(url_for("dashboard.bulk_action", number=number), 303))


@dashboard.post("/bulk/<int:number>/undo")
@requires("operator")
def undo_bulk(number: int) -> Response:
    """Before it has begun, only stops it; otherwise starts the action that undoes it."""
    require(bulk.find(db.session, number).role)
    undoing = bulk.undo(db.session, number, by=actor(), grace_seconds=bulk.GRACE_SECONDS)
    commit()
    if undoing == number:
        flash(f"Bulk action {number} undone before it started. No jobs were changed.", "done")
        return make_response(redirect(url_for("dashboard.bulk_action", number=number), 303))
    return leave(url_for("dashboard.bulk_action", number=undoing))


def _described(args: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in args.items())


def describe(query: JobQuery) -> str:
    """The list as text: "Failed jobs, type echo"."""
    return ", ".join([query.label, *(chip.label for chip in query.chips())])
