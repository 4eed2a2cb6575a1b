"""The lists of open and of discarded dead letters: tabs of the failures."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, redirect, request, url_for

from app.dashboard import cached_reads, looks, render
from app.dashboard.blueprint import dashboard
from app.dashboard.list_query import PAGE_SIZE, DeadLetterQuery, DiscardedQuery
from app.extensions import db
from app.jobs import listing
from app.security import may_search_payloads
from app.security.roles import requires


@dashboard.get("/failures/dead-letters")
@requires("viewer")
def dead_letters() -> Response:
    return looks.looked(_page(DeadLetterQuery.parse(request.args)))


@dashboard.get("/failures/discarded")
@requires("viewer")
def discarded() -> Response:
    return _page(DiscardedQuery.parse(request.args))


@dashboard.get("/dead-letters")
@requires("viewer")
def former_dead_letters() -> Response:
    """The former address of the list, with its filters."""
    query = request.query_string.decode("ascii", "replace")
    return make_response(
        redirect(url_for("dashboard.dead_letters") + (f"?{query}" if query else ""), 301)
    )


def _page(query: DeadLetterQuery) -> Response:
    filters: dict[str, Any] = {
        "type": query.type,
        "search": query.q or None,
        "is_payload_searched": may_search_payloads(),
        "is_discarded": query.is_discarded,
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
