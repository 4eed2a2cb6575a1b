"""Actions on the jobs selected in a list, performed in the request."""

from __future__ import annotations

from uuid import UUID

from flask import Response, request, url_for

from app.dashboard import render
from app.dashboard.blueprint import dashboard
from app.dashboard.forms import check_verb, edit_changes
from app.dashboard.present.bulk_words import became
from app.dashboard.redirects import done
from app.errors import ValidationFailed
from app.extensions import db
from app.jobs import bulk
from app.security import actor
from app.security.roles import requires


@dashboard.post("/jobs/selected")
@requires("operator")
def act_on_selected() -> Response:
    """Acts on the selected jobs at once; the message leads to the undo. Without scripts, an unconfirmed delete asks first."""
    verb, ids = request.form.get("verb", ""), _ids(request.form.getlist("ids"))
    check_verb(verb)
    if verb == "delete" and request.form.get("confirmed") != "yes":
        return render.page("bulk/delete.html", None, ids=ids)
    args = edit_changes(request.form) if verb == "edit" else {}
    changes, number = bulk.act_on_selected(db.session, verb, ids, by=actor(), args=args)
    n, refused = len(changes.done), list(changes.refused.values())
    message = became(verb, n) if n else ""
    if refused:
        message += f" {len(refused)} skipped: {refused[0]}" + (" …" if len(refused) > 1 else "")
    link = None if number is None else ("Undo…", url_for("dashboard.bulk_action", number=number))
    return done(message.strip(), home="dashboard.jobs", tone="done" if n else "problem", link=link)


def _ids(texts: list[str]) -> list[UUID]:
    try:
        ids = [UUID(text) for text in dict.fromkeys(texts)]
    except ValueError:
        raise ValidationFailed({"ids": ["must be job IDs."]}) from None
    if not 1 <= len(ids) <= bulk.AT_ONCE:
        raise ValidationFailed(
            {"ids": [f"must contain 1 to {bulk.AT_ONCE} job IDs; select at least one job."]}
        )
    return ids
