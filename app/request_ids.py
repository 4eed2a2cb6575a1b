"""X-Request-Id: one word that ties an answer to our log, and to the caller's if it sent one."""

from __future__ import annotations

import re
from uuid import uuid4

from flask import g, request

HEADER = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def current() -> str:
    """The caller's id of this request where it is harmless in a log, else one of ours."""
    if "request_id" not in g:
        sent = request.headers.get(HEADER, "")
        g.request_id = sent if _SANE.fullmatch(sent) else uuid4().hex
    found: str = g.request_id
    return found
