"""What goes into Redis and what comes back, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class Ref(NamedTuple):
    """What Redis holds of a pending job: enough to put its id in the right place, nothing else."""

    # A tuple: reconcile makes one of every pending job, and a frozen dataclass takes four times as long.
    id: UUID
    queue: str
    priority: int
    run_at_ms: int  # since 1970, by the database clock
    is_due: bool
    type: str | None = None  # where the job may also wait in the lane of its type


@dataclass(frozen=True, slots=True)
class Contents:
    """What our keys in Redis hold."""

    wrong_types: list[str]  # keys whose value has another type than ours
    foreign: int  # members that are neither a job id nor the name of a queue
    ids: list[UUID]  # the first ones of each set
    deployments: list[str]  # the databases whose workers use these keys
