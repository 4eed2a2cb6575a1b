"""The list of open dead letters."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.list_query import PAGE_SIZE, LetterQuery
from app.extensions import db
from app.jobs import listing
from app.security import may_search_payloads
from app.security.roles import requires


@dashboard.get("/dead-letters")
@requires("viewer")
def dead_letters() -> Response:
    query = LetterQuery.parse(request.args)
    narrowed: dict[str, Any] = {
        "type": query.type,
        "search": query.q or None,
        "is_payload_searched": may_search_payloads(),
    }
    start = query.cursor or (query.top if query.is_pinned else None)
    page, newer = (
        listing.list_dead_letters(db.session, limit=PAGE_SIZE, cursor=start, **narrowed),
        0,
    )
    if query.top and not page.items:
        page = listing.list_dead_letters(db.session, limit=PAGE_SIZE, **narrowed)
    elif query.top and query.is_pinned:
        newer = listing.count_newer_dead_letters(db.session, query.top, limit=PAGE_SIZE, **narrowed)
    return render.page(
        "dead_letters/index.html", "dead_letters/_table.html", query=query, page=page, newer=newer, most=PAGE_SIZE,
        type_names=cached_reads.type_options(query.type),
    )  # fmt: skip
