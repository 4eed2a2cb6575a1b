"""What keeps a due job from being claimed: for each reason its SQL and its sentence for people.

The claim, the reconciliation of Redis and the doctor use the SQL, the page of a job the sentences.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason why a due job waits."""

    absence: str  # SQL that is true where this reason does NOT hold the job; {job} is the alias of its row
    sentence: str  # for people; explain() fills in its placeholders

    def absent(self, job: str = "j") -> str:
        """The SQL condition that this reason does not hold the row ``job``."""
        return self.absence.format(job=job)

    def explain(self, **facts: object) -> str:
        """The sentence, with its placeholders filled in."""
        return self.sentence.format(**facts)


EXPIRED = Hold(
    "({job}.expires_at IS NULL OR {job}.expires_at > now())",
    "The job expired before it could start. It is cancelled within seconds.",
)
QUEUE_PAUSED = Hold(
    "NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'queue' AND p.name = {job}.queue)",
    "Queue {queue} was paused{by}. Resume it on the Queues page.",
)
TYPE_PAUSED = Hold(
    "NOT EXISTS (SELECT 1 FROM pauses p WHERE p.kind = 'type' AND p.name = {job}.type)",
    "Job type {type} was paused{by}. Resume it on the Job types page.",
)
QUEUE_NOT_SERVED = Hold(
    "(:is_any_queue OR {job}.queue = ANY(CAST(:queues AS text[])))",
    "No running worker serves queue {queue}. Check the QUEUES setting of your workers.",
)
TYPE_UNKNOWN = Hold(
    "(:is_any_type OR {job}.type = ANY(CAST(:types AS text[])))",
    "No running worker has a handler for {type}{span}. Start one that does.{limit}",
)

#: jobs.hold of a pending job: it may be claimed; it is due and waits at its limit; it is under a limit and not due yet.
FREE, AT_LIMIT, LIMITED_LATER = 0, 1, 3

#: A job that has been due for longer is in its ready set unless Redis lost it; a younger one may be being claimed.
MIN_AGE_SECONDS = 2

#: All of them, in the order in which the claim checks them.
HOLDS = (EXPIRED, QUEUE_PAUSED, TYPE_PAUSED, QUEUE_NOT_SERVED, TYPE_UNKNOWN)


def none_applies(job: str = "j") -> str:
    """The SQL condition that nothing holds the row ``job``.

    Its parameters are the worker's: ``is_any_queue``, ``queues``, ``is_any_type`` and ``types``.
    """
    return "\n      AND ".join(hold.absent(job) for hold in HOLDS)
