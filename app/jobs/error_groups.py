"""Where an attempt failed: with the job's type and the exception's class, what errors are grouped by. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FRAME = re.compile(r'^\s*File "(?P<path>.+?)", line \d+, in (?P<function>.+)$', re.MULTILINE)
_CHAINED = re.compile(
    r"^(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):$",
    re.MULTILINE,
)
_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib/python\d|^<frozen ")
#: What differs between two errors of the same kind: ids, numbers, memory addresses.
_VARYING = re.compile(r"\b(?:0x)?[0-9a-f]*\d[0-9a-f]*(?:-[0-9a-f]{4,})*\b", re.IGNORECASE)
PLACE_CHARACTERS = 200


def place_of_frames(frames: Sequence[tuple[str, str]]) -> str:
    """``jobs/mail.py in send``: of (path, function) from the outermost frame to the deepest; at least one.

    The deepest frame that is not in a library, so that one cause in a handler is one place. Without the
    line number, which changes with deployments; two names of the path, since directories differ by machine.
    """
    own = [frame for frame in frames if not _LIBRARY.search(frame[0])]
    path, function = (own or frames)[-1]
    path = "/".join(path.replace("\\", "/").split("/")[-2:])
    return f"{path} in {function.strip()}"[:PLACE_CHARACTERS]


def place_in_traceback(traceback: str) -> str:
    """The place of an attempt of which only the stored traceback is left; "" without a frame."""
    matches = list(_FRAME.finditer(_CHAINED.split(traceback)[-1]))
    return place_of_frames([(m["path"], m["function"]) for m in matches]) if matches else ""


def without_numbers(text: str) -> str:
    """The first line of an error without its numbers: the place of an error without a traceback."""
    lines = text.strip().splitlines()
    return _VARYING.sub("#", lines[0])[:PLACE_CHARACTERS] if lines else ""
