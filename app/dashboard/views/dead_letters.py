"""The list of open dead letters."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from app.dashboard import cached_reads, render
from app.dashboard.blueprint import dashboard
from app.dashboard.list_query import PAGE_SIZE, DeadLetterQuery
from app.extensions import db
from app.jobs import listing
from app.security import may_search_payloads
from app.security.roles import requires


@dashboard.get("/dead-letters")
@requires("viewer")
def dead_letters() -> Response:
    query = DeadLetterQuery.parse(request.args)
    filters: dict[str, Any] = {
        "type": query.type,
        "search": query.q or None,
        "is_payload_searched": may_search_payloads(),
    }
    page, newer = query.read(
        lambda cursor: listing.list_dead_letters(
            db.session, limit=PAGE_SIZE, cursor=cursor, **filters
        ),
        lambda top: listing.count_newer_dead_letters(db.session, top, limit=PAGE_SIZE, **filters),
    )
    return render.page(
        "dead_letters/index.html", "dead_letters/_table.html", query=query, page=page, newer=newer, page_size=PAGE_SIZE,
        type_names=cached_reads.type_options(query.type),
    )  # fmt: skip
