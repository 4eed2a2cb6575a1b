"""What a worker pops from: its queues, and the lanes of the types that it knows."""

from __future__ import annotations

import time
from collections.abc import Sequence

from app.broker.lanes import Lanes
from app.broker.ready_set import ReadySet
from app.jobs import registry

#: How often a worker reads which queues and lanes there are. When there is a new one, one worker is woken to read them.
READ_SECONDS = 2.0


class Sources:
    """The names of queues and lanes, in an order that changes each time, so that none of them starves."""

    def __init__(self, ready: ReadySet, lanes: Lanes, strict_queues: Sequence[str]) -> None:
        """``strict_queues``: only these, in this order; empty for all queues in turn."""
        self._ready = ready
        self._lanes = lanes
        self._strict_queues = list(strict_queues)
        self._queues: list[str] = []
        self._known_lanes: list[str] = []
        self._read_at = float("-inf")
        self._turn = 0

    def in_order(self) -> list[str]:
        """What to pop from, in order: the queues, each with the lanes of the types this process knows."""
        now = time.monotonic()
        if now - self._read_at > READ_SECONDS:
            self._queues = self._strict_queues or self._ready.queues() or ["default"]
            self._known_lanes = self._lanes.of_types(registry.names())
            self._read_at = now
        self._turn += 1
        queues = self._strict_queues or self._in_turn()
        if not self._known_lanes:
            return queues
        sources: list[str] = []
        for queue in queues:
            lanes = [name for name in self._known_lanes if name.partition("|")[0] == queue]
            # The first key is preferred: take turns, so that neither a queue nor its lanes starve.
            sources += [*lanes, queue] if self._turn % 2 else [queue, *lanes]
        return sources

    def read_again(self) -> None:
        """There is a new queue or lane: read them with the next call of in_order()."""
        self._read_at = float("-inf")

    def _in_turn(self) -> list[str]:
        # BZPOPMIN and the pop script prefer the first key: take turns, so that no queue starves.
        first = self._turn % len(self._queues)
        return self._queues[first:] + self._queues[:first]
