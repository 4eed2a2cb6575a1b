"""What the sets in Redis hold."""

from __future__ import annotations

from app.broker.ready_set import ReadySet


def depths(ready: ReadySet) -> dict[str, int]:
    """Ids in the ready set by queue, and "delayed"."""
    count, keys = ready.client.zcard, ready.keys
    return {queue: count(keys.ready(queue)) for queue in ready.queues()} | {
        "delayed": count(keys.delayed)
    }
