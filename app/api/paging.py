"""Lists: a bare array, and where it goes on in the Link header."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import request

from app.jobs.queries import Page

LINK = {"Link": 'Where the list goes on, if it does: `</api/…?cursor=…>; rel="next"`.'}


def listed(page: Page[Any]) -> tuple[list[Any], int, dict[str, str]]:
    """The items of a page, with ``Link: <…>; rel="next"`` where there are more.

    The address is relative to the server, which behind a proxy does not know its own name.
    """
    if page.next_cursor is None:
        return page.items, 200, {}
    kept = {name: value for name, value in request.args.items() if name not in ("cursor", "offset")}
    address = f"{request.path}?{urlencode({**kept, 'cursor': page.next_cursor})}"
    return page.items, 200, {"Link": f'<{address}>; rel="next"'}
