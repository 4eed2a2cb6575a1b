"""Failed jobs by error group: retry one, ten as a canary, or all; discard all."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, abort, make_response, redirect, request, url_for

from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.present.bulk_words import ASKS_ABOVE, became, became_of
from app.dashboard.redirects import done
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs import bulk
from app.jobs.listing import MAX_ERROR_GROUPS, JobFilter
from app.jobs.models import FAILED
from app.security import actor
from app.security.roles import requires

VERBS = ("retry", "discard")


@dashboard.get("/failures")
@requires("viewer")
def failures() -> Response:
    groups = cached_reads.failures()
    return render.page(
        "failures/index.html", "failures/_table.html", groups=groups, limit=MAX_ERROR_GROUPS,
        asks_above=ASKS_ABOVE, retries=cached_reads.latest_retries([group.fingerprint for group in groups]), became_of=became_of,
    )  # fmt: skip


@dashboard.post("/failures/<fingerprint>/<verb>")
@requires("operator")
def act_on_failure(fingerprint: str, verb: str) -> Response:
    """Acts on the ``newest`` jobs of a group at once; without that number, and to discard without scripts, opens the preview."""
    if verb not in VERBS or not re.fullmatch("[0-9a-f]{12}", fingerprint):
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


def _newest(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:4]) <= bulk.AT_ONCE:
        raise ValidationFailed({"newest": [f"must be a whole number from 1 to {bulk.AT_ONCE}."]})
    return int(text)
