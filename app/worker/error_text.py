"""An exception as people read it: one line, and a traceback that starts in the handler."""

from __future__ import annotations

import traceback

from app.errors import UnknownJobType
from app.jobs.context import storable
from app.jobs.control_flow import JobTimeout, Permanent, RetryAfter
from app.jobs.registry import PayloadRefused

MAX_ERROR_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 20_000


def describe(error: BaseException) -> str:
    """One line for people: the exception's class and text; ours speak for themselves."""
    try:
        text = str(error)
    except BaseException:  # people's code, SystemExit included
        text = "(its text can't be read)"
    name = type(error).__name__
    if isinstance(error, (Permanent, RetryAfter, JobTimeout, UnknownJobType, PayloadRefused)):
        return storable(text or name, MAX_ERROR_CHARACTERS)
    return storable(f"{name}: {text}" if text else name, MAX_ERROR_CHARACTERS)


def line(reason: str) -> str | None:
    return storable(reason, MAX_ERROR_CHARACTERS) if reason else None


def traceback_of(error: BaseException) -> str | None:
    # What the handler decided itself needs no traceback.
    if isinstance(error, (Permanent, RetryAfter, UnknownJobType)):
        return None
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__", "") in _KERNEL_MODULES:
        tb = tb.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, tb or error.__traceback__))
    except Exception:
        return None
    if len(text) > MAX_TRACEBACK_CHARACTERS:
        half = MAX_TRACEBACK_CHARACTERS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    return storable(text, MAX_TRACEBACK_CHARACTERS + 100)


_KERNEL_MODULES = frozenset(
    {
        "app.worker.runner",
        "app.worker.interrupt",
        "app.jobs.registry",
        "app.worker.child.process",
        "app.worker.child.interrupts",
    }
)
