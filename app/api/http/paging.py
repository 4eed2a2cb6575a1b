"""Lists: a bare array, and where it goes on in the headers X-Next-Cursor and Link."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import request

from app.jobs.listing import Page

CURSOR_HEADER = "X-Next-Cursor"
NEXT_PAGE = {
    CURSOR_HEADER: "Value of `cursor` for the next page, with the same filters. Absent on the last page.",
    "Link": 'The same as an address: `</api/…?cursor=…>; rel="next"`.',
}


def listed(page: Page[Any]) -> tuple[list[Any], int, dict[str, str]]:
    """The items of a page, with ``X-Next-Cursor`` and ``Link: <…>; rel="next"`` where there are more.

    The link's address is relative to the server, which behind a proxy does not know its own name.
    """
    if page.next_cursor is None:
        return page.items, 200, {}
    kept = {name: value for name, value in request.args.items() if name not in ("cursor", "offset")}
    address = f"{request.path}?{urlencode({**kept, 'cursor': page.next_cursor})}"
    headers = {CURSOR_HEADER: page.next_cursor, "Link": f'<{address}>; rel="next"'}
    return page.items, 200, headers
