"""The values that are written to Redis and read from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class Ref(NamedTuple):
    """The part of a pending job that is needed to put its id into the right set."""

    # A tuple: reconcile creates one for each pending job, and a frozen dataclass takes four times as long.
    id: UUID
    queue: str
    priority: int
    run_at_ms: int  # since 1970, by the database clock
    is_due: bool
    type: str | None = None  # if the job may be in the lane of its type
    limit: str | None = None  # the limit that holds it; None: a worker may claim it


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of our keys in Redis."""

    wrong_types: list[str]  # keys of a wrong type
    foreign: int  # members that are neither a job id nor the name of a queue
    ids: list[UUID]  # the first ids of each set
    deployments: list[str]  # the databases whose workers use these keys
