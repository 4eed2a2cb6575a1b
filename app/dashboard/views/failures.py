"""Failures by error group: retry some, ten as a canary, or all; discard; say what is known, muted or resolved."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, abort, make_response, redirect, request, url_for

from app import clock
from app.dashboard import cached_reads, looks, render
from app.dashboard.blueprint import dashboard
from app.dashboard.failure_query import FailureQuery
from app.dashboard.present.bulk_words import ASKS_ABOVE, became
from app.dashboard.present.failure_words import ACTIONS, CANARY, EMPTY, VIEWS, is_waiting, verdict
from app.dashboard.redirects import done
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs import bulk, error_group_states
from app.jobs.listing import JobFilter
from app.jobs.models import FAILED
from app.security import actor
from app.security.roles import requires

VERBS = ("retry", "discard")
#: How many jobs the menu offers to retry, besides all.
NEWEST = (1, CANARY, 100)
#: Seconds between refreshes; while a retry's verdict is awaited, for this long at most.
USUAL_SECONDS, FAST_SECONDS, FAST_FOR_SECONDS = 5, 1, 300


@dashboard.get("/failures")
@requires("viewer")
def failures() -> Response:
    query = FailureQuery.parse(request.args)
    groups, more = cached_reads.error_groups(
        state=query.state, type=query.type, search=query.q, skip=query.skip
    )
    retries = cached_reads.latest_retries([group.fingerprint for group in groups])
    awaited = any(
        is_waiting(outcome) and (clock.now() - action.created_at).total_seconds() < FAST_FOR_SECONDS
        for action, outcome in retries.values()
    )
    page = render.page(
        "failures/index.html", "failures/_table.html", query=query, groups=groups, more=more, views=VIEWS,
        states=cached_reads.error_group_states(), empty=EMPTY[query.state], asks_above=ASKS_ABOVE, newest=NEWEST,
        actions=ACTIONS, paused_types=cached_reads.paused_types(), type_names=cached_reads.type_options(query.type),
        verdicts={group: verdict(*retry) for group, retry in retries.items()}, retries=retries,
        seconds=FAST_SECONDS if awaited else USUAL_SECONDS,
    )  # fmt: skip
    return looks.looked(page)


@dashboard.post("/failures/<fingerprint>/<verb>")
@requires("operator")
def act_on_failure(fingerprint: str, verb: str) -> Response:
    """Changes the state of a group, or acts on its ``newest`` jobs at once.

    Without that number, and to discard without scripts, opens the preview.
    """
    if not re.fullmatch("[0-9a-f]{12}", fingerprint):
        abort(404)
    if verb in error_group_states.VERBS:
        return _change_state(fingerprint, verb)
    if verb not in VERBS:
        abort(404)
    link: dict[str, Any] = {"status": FAILED, "fingerprint": fingerprint}
    # Discarding asks first: with a dialog if there are scripts, else with the preview.
    is_asked_by_page = verb == "discard" and not render.is_part()
    if "newest" not in request.args or is_asked_by_page:
        return make_response(redirect(url_for("dashboard.bulk_preview", verb=verb, **link), 303))
    newest = _newest(request.args["newest"])
    jobs = "failed job" if newest == 1 else f"{newest} failed jobs"
    description = f"newest {jobs}, {cached_reads.error_group_name(fingerprint)}"
    number = bulk.create(
        db.session, verb, JobFilter(fingerprint=fingerprint, status=FAILED), newest=newest, by=actor(),
        description=description, link=link,
    )  # fmt: skip
    n = bulk.finish_at_once(db.session, number)
    return done(became(verb, n) if n else "No jobs left in this group.", home="dashboard.failures")


def _change_state(fingerprint: str, verb: str) -> Response:
    error_group_states.change(db.session, fingerprint, verb, by=actor())
    message = ACTIONS[verb][2].format(group=cached_reads.error_group_name(fingerprint))
    return done(message, home="dashboard.failures")


def _newest(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:4]) <= bulk.AT_ONCE:
        raise ValidationFailed({"newest": [f"must be a whole number from 1 to {bulk.AT_ONCE}."]})
    return int(text)
