"""Huey's storage interface over the ready set, with messages that can't execute code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from huey.serializer import Serializer
from huey.storage import PriorityRedisStorage

from app.broker.ready_set import ReadySet
from app.broker.refs import Ref


class JobIdSerializer(Serializer):
    """A message is a job id: 32 hex digits. Never pickle."""

    def _serialize(self, data: Any) -> bytes:
        return UUID(str(data)).hex.encode()

    def _deserialize(self, data: bytes) -> str:
        return str(UUID(data.decode("ascii")))


class ReadySetStorage(PriorityRedisStorage):
    """enqueue, dequeue, add_to_schedule and read_schedule on the sets of app.broker.ready_set.

    The consumer itself goes through the inbox (batches); this is for Huey's own commands.
    """

    def __init__(self, name: str = "jobs", key_prefix: str = "", **options: Any) -> None:
        super().__init__(name, **options)
        self.ready = ReadySet(self.conn, key_prefix)
        self.queue_key = self.ready.keys.ready("default")
        self.schedule_key = self.ready.keys.delayed

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        self.ready.publish([Ref(UUID(data.decode()), "default", int(priority or 0), now_ms, True)])

    def dequeue(self) -> bytes | None:
        queues = self.ready.queues() or ["default"]
        ids, _ = self.ready.pop(queues, 1)
        return ids[0].encode() if ids else None

    def add_to_schedule(self, data: bytes, ts: datetime) -> None:
        run_at_ms = int(ts.replace(tzinfo=ts.tzinfo or UTC).timestamp() * 1000)
        self.ready.publish([Ref(UUID(data.decode()), "default", 0, run_at_ms, False)])

    def read_schedule(self, ts: datetime) -> list[bytes]:
        # Nothing is popped here: promotion moves an id only together with placing it.
        return []

    def enqueued_items(self, limit: int | None = None) -> list[bytes]:
        items: list[bytes] = self.conn.zrange(self.queue_key, 0, limit - 1 if limit else -1)
        return items
