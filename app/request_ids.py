"""X-Request-Id: connects a response with our log, and with the caller's log if the caller sent an id."""

from __future__ import annotations

import re
from uuid import uuid4

from flask import g, request

HEADER = "X-Request-Id"
_VALID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def current() -> str:
    """The id of this request: the caller's if it is valid, otherwise a new one."""
    if "request_id" not in g:
        sent_id = request.headers.get(HEADER, "")
        g.request_id = sent_id if _VALID.fullmatch(sent_id) else uuid4().hex
    request_id: str = g.request_id
    return request_id
