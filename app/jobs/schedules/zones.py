"""Time zones, read from the tzdata package only.

The zone files of the operating system differ between machines, and then two workers would run one
schedule at two times. So these zones are private: nothing here reads or changes zoneinfo's search path.
"""

from __future__ import annotations

import difflib
import re
from functools import cache, lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata

#: The release of the IANA database, such as 2026f: later ones are greater.
VERSION: str = tzdata.IANA_VERSION

#: The file of zones also lists this placeholder of an unset zone.
_NOT_ZONES = {"Factory"}
_OFFSET = re.compile(r"(?:UTC|GMT|Z)?\s*[+-]?\s*[0-9]{1,2}(?::?[0-9]{2})?", re.IGNORECASE)
_ABBREVIATION = re.compile(r"[A-Z]{1,5}")
_UNKNOWN = "is not a time zone of the IANA database"


class InvalidZone(ValueError):
    """The name is not a time zone; the text continues "The time zone …"."""


@cache
def names() -> tuple[str, ...]:
    """The names of all zones, sorted."""
    listed = (resources.files("tzdata") / "zones").read_text(encoding="utf-8").split()
    return tuple(sorted(set(listed) - _NOT_ZONES))


def get(name: str) -> ZoneInfo:
    """The zone of that name. Raises InvalidZone, with the name that was probably meant."""
    zone = _read(name) if name in _known() else None
    if zone is None:
        raise InvalidZone(f"{_UNKNOWN}{_hint(name)}")
    return zone


@cache
def _known() -> frozenset[str]:
    return frozenset(names())


@cache
def _read(name: str) -> ZoneInfo:
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with file.open("rb") as stream:
        return ZoneInfo.from_file(stream, key=name)


@lru_cache(maxsize=256)
def _hint(name: str) -> str:
    if suggestion := _suggestion(name):
        return f"; did you mean {suggestion}?"
    if _OFFSET.fullmatch(name) or _ABBREVIATION.fullmatch(name):
        return "; offsets and abbreviations don't know when clocks change."
    return "; one is spelled like Europe/Berlin."


def _suggestion(name: str) -> str | None:
    """The zone that a misspelled name most resembles, in any case of letters; also by its city alone."""
    if _OFFSET.fullmatch(name):
        return None
    by_spelling: dict[str, str] = {}
    for known in names():
        by_spelling.setdefault(known.rpartition("/")[2].lower(), known)
    by_spelling |= {known.lower(): known for known in names()}
    spelled = re.sub(r"[\s-]+", "_", name.strip()).lower()
    if spelled in by_spelling:
        return by_spelling[spelled]
    if _ABBREVIATION.fullmatch(name):
        return None
    close = difflib.get_close_matches(spelled, by_spelling, n=1, cutoff=0.75)
    return by_spelling[close[0]] if close else None
