"""What keeps a due job from being claimed: for each reason its SQL and its sentence for people.

The claim and the reconciliation of Redis read the SQL, the page of a job the sentences.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason why a due job waits."""

    condition: str  # SQL, true for a job that is NOT held; {job} is the alias of its row
    sentence: str  # for people; its gaps are filled by explain()

    def absent(self, job: str = "j") -> str:
        """The SQL condition that the reason doesn't apply to the row ``job``."""
        return self.condition.format(job=job)

    def explain(self, **facts: object) -> str:
        """The sentence, with the gaps filled."""
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

#: All of them, in the order in which the claim checks them.
HOLDS = (EXPIRED, QUEUE_PAUSED, TYPE_PAUSED, QUEUE_NOT_SERVED, TYPE_UNKNOWN)


def none_applies(job: str = "j") -> str:
    """The SQL condition that nothing holds the row ``job``.

    Its parameters are the worker's: ``is_any_queue``, ``queues``, ``is_any_type`` and ``types``.
    """
    return "\n      AND ".join(hold.absent(job) for hold in HOLDS)
