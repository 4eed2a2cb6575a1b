"""Pages, the cursors that lead from one to the next, and how a page is made from the matches of a walk."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar
from uuid import UUID

from app.errors import InvalidCursor, OffsetTooLarge

T = TypeVar("T")
Direction = Literal["next", "previous"]

#: ``offset`` is for people and old clients; past this, a cursor reads on at constant cost.
OFFSET_BOUND = 10_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, newest first."""

    items: list[T] = field(default_factory=list)
    #: Leads to older rows; None at the end. With ``is_cut_short`` it goes on with the search.
    next_cursor: str | None = None
    #: Leads to newer rows; None on the first page.
    previous_cursor: str | None = None
    #: Leads to this same page, whatever newer rows arrive; None for an empty page.
    start_cursor: str | None = None
    #: The search stopped at its bound: older (newer, when going back) rows may match as well.
    is_cut_short: bool = False
    #: Where a search that was cut short stopped: rows created on this side of it were checked.
    searched_until: datetime | None = None


@dataclass(frozen=True)
class Position:
    """A place in a list: strictly after (older) or before (newer) the row with this key."""

    key: tuple[Any, ...]  # (id,) or (instant, id)
    direction: Direction


class Matches(Protocol):
    """Keys in walking order; ``stopped_at`` is the last key checked if a bound ended the walk."""

    @property
    def keys(self) -> list[tuple[Any, ...]]: ...
    @property
    def stopped_at(self) -> tuple[Any, ...] | None: ...


def paginate(
    *,
    find: Callable[[Position | None, int], Matches],
    load: Callable[[list[tuple[Any, ...]]], tuple[list[T], int]],
    instant_of: Callable[[tuple[Any, ...]], datetime],
    position: Position | None,
    is_first: bool,
    limit: int,
    is_ascending: bool = False,
) -> Page[T]:
    """The page at ``position``: ``find(position, n)`` walks up to n keys, ``load`` fetches rows by key.

    ``load`` may stop early, where the page has enough bytes: it returns its rows and how many keys they cover.
    """
    matches = find(position, limit + 1)  # one extra shows whether there are more
    has_more, keys = len(matches.keys) > limit, matches.keys[:limit]
    items, covered = load(keys)
    stopped_at = matches.stopped_at
    if covered < len(keys):  # the next page begins right where this one is full
        has_more, keys, stopped_at = True, keys[:covered], None
    if position is not None and position.direction == "previous":
        if not has_more and stopped_at is None and len(keys) < limit:
            # The top: a full first page is better than the few rows that are left.
            return paginate(
                find=find,
                load=load,
                instant_of=instant_of,
                position=None,
                is_first=True,
                limit=limit,
                is_ascending=is_ascending,
            )
        keys.reverse()
        items.reverse()
        newer, older = (
            stopped_at or (keys[0] if has_more else None),
            _edge(keys, position, -1, is_ascending),
        )
    else:
        older = stopped_at or (keys[-1] if has_more else None)
        newer = None if is_first else _edge(keys, position, 0, is_ascending)
    return Page(
        items=items,
        next_cursor=encode(Position(older, "next")) if older else None,
        previous_cursor=encode(Position(newer, "previous")) if newer else None,
        start_cursor=encode(Position(_just_before(keys[0], is_ascending), "next"))
        if keys
        else None,
        is_cut_short=stopped_at is not None,
        searched_until=instant_of(stopped_at) if stopped_at else None,
    )


def _edge(
    keys: list[tuple[Any, ...]], position: Position | None, end: int, is_ascending: bool
) -> tuple[Any, ...] | None:
    """The first or last key of a page; of an empty page, a key next to its position."""
    if keys:
        return keys[end]
    if position is None:
        return None
    *rest, row_id = position.key
    is_larger = (position.direction == "previous") != is_ascending
    return (*rest, _beside(row_id, 1 if is_larger else -1))


def _just_before(key: tuple[Any, ...], is_ascending: bool) -> tuple[Any, ...]:
    # No other row has this id: 62 bits of an id are random.
    *rest, row_id = key
    return (*rest, _beside(row_id, -1 if is_ascending else 1))


def _beside(row_id: UUID, step: int) -> UUID:
    return UUID(int=min(max(row_id.int + step, 0), (1 << 128) - 1))


def check_offset(offset: int) -> int:
    """The offset itself; raises OffsetTooLarge past the bound."""
    if not 0 <= offset <= OFFSET_BOUND:
        raise OffsetTooLarge(bound=OFFSET_BOUND)
    return offset


def encode(position: Position) -> str:
    """The cursor of a position: a letter for its direction, the instant if any, the id; base64url."""
    *instants, row_id = position.key
    raw = position.direction[0].encode()
    for instant in instants:
        assert isinstance(instant, datetime)
        raw += ((instant - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big")
    assert isinstance(row_id, UUID)
    return base64.urlsafe_b64encode(raw + row_id.bytes).rstrip(b"=").decode()


def decode(cursor: str, *, width: int, direction: Direction | None = None) -> Position:
    """The position of a cursor whose keys have ``width`` parts. Raises InvalidCursor.

    The cursor knows its direction; ``direction`` overrides it.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        own: Direction = {b"n": "next", b"p": "previous"}[raw[:1]]  # type: ignore[assignment]
        if len(raw) != 17 + 8 * (width - 1):
            raise ValueError
        row_id = UUID(bytes=raw[-16:])
        if width == 1:
            return Position((row_id,), direction or own)
        instant = _EPOCH + timedelta(microseconds=int.from_bytes(raw[1:9], "big"))
        return Position((instant, row_id), direction or own)
    except (ValueError, KeyError, OverflowError, binascii.Error, UnicodeError):
        raise InvalidCursor from None
