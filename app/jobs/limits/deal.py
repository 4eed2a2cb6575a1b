"""Which keys of a limit get how many of the free slots: one each in turn."""

from __future__ import annotations

from collections.abc import Iterable


def deal(rooms: Iterable[tuple[str, int]], free: int) -> dict[str, int]:
    """Key → its share of ``free``, for keys that get any.

    ``rooms`` are the keys in their turn, each with how many it may have. Round by round each gets one, so that two keys
    with room differ by at most one; what is left over in the last round goes to the first.
    """
    open_rooms = [(key, room) for key, room in rooms if room > 0]
    shares: dict[str, int] = {}
    while free > 0 and open_rooms:
        step = max(
            1, min(free // len(open_rooms), min(room - shares.get(k, 0) for k, room in open_rooms))
        )
        for key, _ in open_rooms[: free // step]:
            shares[key] = shares.get(key, 0) + step
            free -= step
        open_rooms = [(key, room) for key, room in open_rooms if shares.get(key, 0) < room]
    return shares
