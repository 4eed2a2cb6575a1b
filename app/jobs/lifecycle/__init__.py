"""The whole life of a job: the only code that writes jobs.

            enqueue            claim                complete
   ∅ ─────────────▶ pending ─────────▶ processing ───────────▶ completed
                     ▲ ▲  │              │ │ │ │
                     │ │  │ cancel       │ │ │ └─ cancel ─────▶ cancelled
                     │ │  └──────────────┼─┼─┼───────────────▶ cancelled
        retry (by a  │ └── retry_later ──┘ │ └─ bury ─────────▶ failed  + dead letter
        person, from │     release, snooze │                      │
        failed,      └──── rescue ─────────┘                      │
        cancelled) ◀──────────────────────────────────────────────┘

The modules read in this order: enqueue, attempts, leases, rescue, people, undo, clock; sql holds what they share.
The modules read in this order: enqueue, attempts, leases, rescue, people, clock; sql holds what they share. limited
says which pending jobs wait at a limit (jobs.hold): they are in no set of Redis, and no claim takes them.

The law: each verb takes a list and is one guarded UPDATE, by id and from-status, plus the lease
token where a worker acts. Losing a race is an ordinary result: the row is not among those
returned. Every statement locks in order of id, so two of them never deadlock, and reads the
database clock. Nothing here commits: the caller's transaction (or autocommit) does.
"""

from app.jobs.ending import BURY, CANCEL, CRASH, END_VERBS, REFUSE, RELEASE, RETRY_LATER, SNOOZE
from app.jobs.lifecycle.attempts import (
    REFUSED_APART_SECONDS,
    REFUSED_WAIT_SECONDS,
    claim,
    complete,
    end_attempts,
)
from app.jobs.lifecycle.clock import HAS_EXPIRED, expire, give_up, prune
from app.jobs.lifecycle.enqueue import (
    LOCK_TIMEOUT_MS,
    Enqueued,
    NewJob,
    Prepared,
    as_enqueued,
    enqueue,
    insert_together,
    live_or_new,
    prepare,
)
from app.jobs.lifecycle.leases import extend, lock
from app.jobs.lifecycle.limited import (
    SCHEDULE_LIMIT,
    all_come_due,
    assign,
    come_due,
    has_its_limit,
)
from app.jobs.lifecycle.people import Changes, act, cancel, delete, discard, edit, retry, run_now
from app.jobs.lifecycle.rescue import crashed, rescue, stopped
from app.jobs.lifecycle.undo import IS_UNDOABLE, before, undo

__all__ = [
    "BURY",
    "CANCEL",
    "CRASH",
    "END_VERBS",
    "HAS_EXPIRED",
    "IS_UNDOABLE",
    "LOCK_TIMEOUT_MS",
    "REFUSE",
    "REFUSED_APART_SECONDS",
    "REFUSED_WAIT_SECONDS",
    "RELEASE",
    "RETRY_LATER",
    "SCHEDULE_LIMIT",
    "SNOOZE",
    "Changes",
    "Enqueued",
    "NewJob",
    "Prepared",
    "act",
    "all_come_due",
    "as_enqueued",
    "assign",
    "before",
    "cancel",
    "claim",
    "come_due",
    "complete",
    "crashed",
    "delete",
    "discard",
    "edit",
    "end_attempts",
    "enqueue",
    "expire",
    "extend",
    "give_up",
    "has_its_limit",
    "insert_together",
    "live_or_new",
    "lock",
    "prepare",
    "prune",
    "rescue",
    "retry",
    "run_now",
    "stopped",
    "undo",
]
