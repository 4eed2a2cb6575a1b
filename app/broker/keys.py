"""The names of our keys in Redis."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_NAME = 100
#: The name of a queue or a job type, which becomes part of a key.
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:-]{{0,{MAX_NAME - 1}}}")


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names with ``prefix`` (the setting REDIS_PREFIX: empty, or ending with a colon).

    The sets share the hash tag {jobs}, and the list of dead letters has the same slot as its replacement,
    so that scripts and RENAME also work on a node of a cluster.
    """

    prefix: str = ""

    def ready(self, queue: str) -> str:
        """Sorted set: ids that are due, by priority and due time."""
        return f"{self.prefix}{{jobs}}:ready:{queue}"

    @property
    def delayed(self) -> str:
        """Sorted set: ids that are not due yet, by due time."""
        return f"{self.prefix}{{jobs}}:delayed"

    @property
    def queues(self) -> str:
        """Set: the queues that jobs were published to."""
        return f"{self.prefix}{{jobs}}:queues"

    @property
    def wake(self) -> str:
        """Sorted set that blocking workers wait on in addition to the queues they know."""
        return f"{self.prefix}{{jobs}}:wake"

    @property
    def pace(self) -> str:
        """Sorted set: hints for the pacers of workers (see app.broker.pace)."""
        return f"{self.prefix}{{jobs}}:pace"

    @property
    def lanes(self) -> str:
        """Sorted set: the names of lanes (see app.broker.lanes), by last use."""
        return f"{self.prefix}{{jobs}}:lanes"

    @property
    def epoch(self) -> str:
        """String: the run of the server that all pending jobs were published to."""
        return f"{self.prefix}{{jobs}}:epoch"

    @property
    def probe(self) -> str:
        """String: written to check whether Redis accepts writes."""
        return f"{self.prefix}{{jobs}}:probe"

    @property
    def unknown(self) -> str:
        """Sorted set: ids that a worker popped but its database does not have, by the time of the pop."""
        return f"{self.prefix}{{jobs}}:unknown"

    @property
    def deployments(self) -> str:
        """Sorted set: the databases whose workers use these keys, by the last time they registered."""
        return f"{self.prefix}{{jobs}}:deployments"

    def leader(self, deployment: str) -> str:
        """String: the worker that leads this deployment."""
        return f"{self.prefix}{{jobs}}:leader:{deployment}"

    @property
    def dead_letters(self) -> str:
        """List: the open dead letters, newest first."""
        return f"{self.prefix}job-dlq"

    @property
    def new_dead_letters(self) -> str:
        """The list that replaces ``dead_letters``, while it is written; in the same cluster slot for RENAME."""
        return f"{self.prefix}{{{self.dead_letters}}}:new"

    @property
    def mirrored(self) -> str:
        """String: the deployment whose dead letters the list contains. Without it, the list was lost."""
        return f"{self.prefix}{{{self.dead_letters}}}:mirrored"

    def types(self) -> dict[str, str]:
        """Key → the type it must have, for all keys except the ready sets (each a zset)."""
        return {
            self.queues: "set",
            self.delayed: "zset",
            self.wake: "zset",
            self.pace: "zset",
            self.unknown: "zset",
            self.lanes: "zset",
            self.deployments: "zset",
        }
