"""Where an attempt failed: with its type and its exception, what failures are grouped by. Pure."""

from __future__ import annotations

import re

_FRAME = re.compile(r'^\s*File "(?P<path>.+?)", line \d+, in (?P<function>.+)$', re.MULTILINE)
_CHAINED = re.compile(
    r"^(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$",
    re.MULTILINE,
)
_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib/python\d|^<frozen ")
#: What differs between two failures of one kind: ids, numbers, addresses in memory.
_VARYING = re.compile(r"\b(?:0x)?[0-9a-f]*\d[0-9a-f]*(?:-[0-9a-f]{4,})*\b", re.IGNORECASE)
PLACE_CHARACTERS = 200


def place_of(outcome: str, traceback: str | None, error: str | None) -> str:
    """``jobs/mail.py in send``, without a traceback the error less its numbers; "" for a time-out.

    The deepest frame that is of no library, so that one cause in a handler is one place; no line
    number, which any deployment moves; two names of the path, since directories differ by machine.
    """
    # The time limit strikes wherever the handler happens to be.
    if outcome == "timed_out":
        return ""
    frames = list(_FRAME.finditer(_CHAINED.split(traceback or "")[-1]))
    if not frames:
        lines = (error or "").strip().splitlines()
        return _VARYING.sub("#", lines[0])[:PLACE_CHARACTERS] if lines else ""
    own = [frame for frame in frames if not _LIBRARY.search(frame["path"])]
    frame = (own or frames)[-1]
    path = "/".join(frame["path"].replace("\\", "/").split("/")[-2:])
    return f"{path} in {frame['function'].strip()}"[:PLACE_CHARACTERS]
