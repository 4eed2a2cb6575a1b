"""X-Request-Id: connects a response with our log, and with the caller's log if the caller sent an id."""

from __future__ import annotations

import re
from random import getrandbits

from flask import g, request

HEADER = "X-Request-Id"
_VALID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def current() -> str:
    """The id of this request: the caller's if it is valid, otherwise a new one."""
    if (known := g.get("request_id")) is not None:
        return str(known)
    sent_id = request.headers.get(HEADER, "")
    # Not a secret: random numbers of the process, without a system call.
    request_id = sent_id if _VALID.fullmatch(sent_id) else f"{getrandbits(128):032x}"
    g.request_id = request_id
    return request_id
