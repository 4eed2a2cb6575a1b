"""Numbers, times, ids and errors as the dashboard shows them; used as Jinja filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app import clock as database_clock
from app.json_values import iso

MINUTE, HOUR, DAY = 60, 3600, 86400


def number(n: int) -> str:
    """1234567 → "1,234,567"; a count that stopped at its bound ends in "+"; never "0+"."""
    if getattr(n, "is_exact", True):
        return f"{n:,}"
    return f"{n:,}+" if n else "many"


def compact(n: int) -> str:
    """Exact below 100,000, then "123 k", "1.2 M", "3.4 B"; "+" as with number()."""
    more = "" if getattr(n, "is_exact", True) else "+"
    for size, unit in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")):
        if abs(n) >= max(size * 0.9995, 100_000):
            digits = 0 if unit == "k" or abs(n) >= size * 99.95 else 1
            return f"{n / size:.{digits}f} {unit}{more}"
    return number(n)


def rate(per_minute: float) -> str:
    """Jobs a minute: "0", "0.4", "12", "1,234"."""
    return f"{per_minute:.1f}" if 0 < per_minute < 9.95 else compact(round(per_minute))


def size(n_bytes: int) -> str:
    """Bytes: "812 B", "3.4 KB", "1.2 MB"."""
    if n_bytes < 1024:
        return f"{n_bytes} B"
    value = n_bytes / 1024
    for unit in ("KB", "MB"):
        if value < 1024:
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GB"


def duration(seconds: float | None) -> str:
    """How long something took: "350 ms", "3.2 s", "2 min 05 s", "3 h 12 min", "4 d 2 h"."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        ms = max(seconds, 0) * 1000
        return f"{ms:.1f} ms" if 0 < ms < 9.95 else f"{ms:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        minutes, rest = divmod(whole, MINUTE)
        return f"{minutes} min {rest:02d} s" if minutes < 10 and rest else f"{minutes} min"
    if whole < DAY:
        hours, rest = divmod(whole // MINUTE, 60)
        return f"{hours} h {rest:02d} min" if rest else f"{hours} h"
    days, rest = divmod(whole // HOUR, 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def span(seconds: float) -> str:
    """A time difference in its largest unit: "now", "12 s", "3 min", "2 h", "5 d". local-times.js has the same rule."""
    whole = int(abs(seconds))
    if whole < 1:
        return "now"
    for size_, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if whole >= size_:
            return f"{whole // size_} {unit}"
    return f"{whole} s"


def relative(at: datetime, kind: str = "ago", *, now: datetime | None = None) -> str:
    """ "3 min ago", "in 12 s" (kind in), or the difference alone (kind for)."""
    seconds = ((now or database_clock.now()) - at).total_seconds()
    text = span(seconds)
    if kind == "for":
        return "0 s" if text == "now" else text
    if text == "now" or (kind == "in" and seconds > 0):
        return "due" if kind == "in" else "now"
    return f"in {text}" if seconds < 0 else f"{text} ago"


def absolute(at: datetime) -> str:
    """2026-05-04 10:00:00 UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(at: datetime) -> str:
    """10:00:00.123, UTC."""
    return str(iso(at))[11:-1]


def short_id(id_: UUID | str) -> str:
    """The last eight digits: a UUIDv7 starts with the time, which neighbors share."""
    return str(id_)[-8:]


def last_line(text: str | None, limit: int = 300) -> str:
    """The last line that isn't empty; an exception's message rather than its traceback."""
    lines = (text or "").strip().splitlines()
    line = lines[-1].strip() if lines else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"


def error_text(error_class: str | None, error: str | None) -> str:
    """ "ValueError: boom": the class once, whether or not ``error`` already begins with it."""
    text = error or ""
    if not error_class:
        return text
    prefix = f"{error_class}: "
    while text.startswith(prefix):
        text = text.removeprefix(prefix)
    return error_class if text in ("", error_class) else prefix + text


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "compact": compact,
    "rate": rate,
    "size": size,
    "duration": duration,
    "relative": relative,
    "iso": iso,
    "absolute": absolute,
    "clock": clock,
    "short_id": short_id,
    "last_line": last_line,
}
