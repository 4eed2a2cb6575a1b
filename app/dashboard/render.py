"""One URL, two responses: the page, or its live region alone when htmx asks for a part."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Any, cast

from flask import Response, get_flashed_messages, make_response, render_template, request

from app import clock
from app.dashboard.layout import Layout, layout
from app.dashboard.present.curl import Server
from app.security import current, may

log = logging.getLogger(__name__)

#: Relative times differ between two renderings of the same state; the browser updates them.
_ALWAYS_NEW = re.compile(r"(?<=>)[^<]*(?=</time>)")


def is_part() -> bool:
    """Whether htmx wants the live region; a history restore wants the whole page."""
    headers = request.headers
    return (
        headers.get("HX-Request-Type") == "partial" and "HX-History-Restore-Request" not in headers
    )


def is_tick() -> bool:
    """Whether the request is a periodic refresh, which must leave messages to the tab that caused them."""
    return request.headers.get("HX-Source", "").endswith(("#live", "#pulse"))


def is_search_step() -> bool:
    """Whether the request continues a search whose first rows are on the page (continue-search.js)."""
    return is_part() and request.headers.get("HX-Source", "").endswith("#search-on")


def page(template: str, region: str | None, /, *, status: int = 200, **context: Any) -> Response:
    """``template`` in full, or ``region`` alone for htmx; 304 to a refresh when nothing in it has changed."""
    context["layout"] = layout()
    if not is_part():
        return _response(
            render_template(template, flashes=_flashes(), **page_facts(), **context), status
        )
    flashes = [] if is_tick() else _flashes()
    html = render_template("layout/_fragment.html", region=region, flashes=flashes, **context)
    response = _unless_known(_response(html, status), html)
    if "query" in context and request.headers.get("HX-Source", "").endswith("#filter"):
        # The address bar shows the list that the filter made, without the form's blank fields.
        response.headers["HX-Replace-Url"] = context["query"].url()
    return response


def flash_only(message: str, status: int) -> Response:
    """A message above the page, which keeps its rows; after a refused action the page refreshes at once."""
    if is_tick():
        # The page itself says since when it is not updating.
        return _response("", status)
    html = render_template("errors/_error.html", flashes=[("problem", message)])
    response = _response(html, status)
    if request.method == "POST":
        response.headers["HX-Trigger"] = "refresh"
    return response


def plain_page(template: str, status: int, *, is_outage: bool = False, **context: Any) -> Response:
    """A page that needs no database; without the navigation for callers who are not signed in.

    ``is_outage``: the database is known to be down, so nothing is read for the layout.
    """
    if not may("viewer"):
        return _response(render_template("errors/bare.html", **page_facts(), **context), status)
    facts = (
        page_facts() | {"flashes": [], "layout": None if is_outage else _layout_if_any()} | context
    )
    return _response(render_template(template, is_outage=is_outage, **facts), status)


def _layout_if_any() -> Layout | None:
    try:
        return layout()
    except Exception:  # an error page must not fail for the counts beside it
        log.warning("dashboard: no counts for an error page", exc_info=True)
        return None


def _response(html: str, status: int) -> Response:
    response = make_response(html, status)
    response.vary.update(("HX-Request", "HX-Request-Type"))
    response.headers["Cache-Control"] = "no-store"
    return response


def _unless_known(response: Response, html: str) -> Response:
    if response.status_code != 200 or not is_tick():
        return response
    etag = hashlib.sha256(_ALWAYS_NEW.sub("", html).encode()).hexdigest()[:20]
    response.set_etag(etag, weak=True)
    if request.if_none_match.contains_weak(etag):
        response.status_code = 304
        response.set_data(b"")
    return response


def server() -> Server:
    """This server, as commands on the page address it."""
    return Server(request.host_url, needs_token=not current().is_anybody)


def page_facts() -> dict[str, Any]:
    theme = request.cookies.get("theme")
    return {
        "theme": theme if theme in ("light", "dark") else None,
        "now_ms": int(clock.epoch() * 1000),
        "principal": current(),
        "section": SECTIONS.get(request.endpoint or ""),
    }


def _flashes() -> list[tuple[str, str]]:
    return cast(list[tuple[str, str]], get_flashed_messages(with_categories=True))


#: Page → the entry of the navigation it belongs to.
SECTIONS = {
    f"dashboard.{page}": section
    for section, pages in {
        "overview": "overview",
        "jobs": "jobs job delete_job copy_form create_copy bulk_preview bulk_start act_on_selected",
        "bulk_actions": "bulk_actions bulk_action",
        "failures": "failures dead_letters discarded",
        "queues": "queues",
        "workers": "workers",
        "job_types": "job_types",
        "schedules": "schedules schedule new_schedule create_schedule edit_schedule save_schedule delete_schedule",
        "limits": "limits limit new_limit create_limit edit_limit save_limit delete_limit edit_limit_key save_limit_key"
        " attach_form attach_limit",
        "audit": "audit",
    }.items()
    for page in pages.split()
}
