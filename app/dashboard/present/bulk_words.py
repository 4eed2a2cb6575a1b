"""Texts of bulk actions: titles, effects of the verbs, and the state of the jobs now."""

from __future__ import annotations

from dataclasses import dataclass

from app.dashboard.present.format import number
from app.dashboard.present.link import Link
from app.jobs.bulk.outcomes import Outcome
from app.jobs.bulk.scope import Part, Preview, by_count
from app.jobs.models import BulkAction
from app.jobs.verbs import VERBS

#: Above this count, the user has to type it to delete, and the failures page asks before a retry.
ASKS_ABOVE = 100
KINDS_SHOWN = 4

_TITLES = {
    "retry": "Retry {jobs}", "run": "Run {jobs} now", "cancel": "Cancel {jobs}",
    "discard": "Discard {dead_letters}", "edit": "Change {jobs}", "delete": "Delete {jobs}",
}  # fmt: skip
_EFFECTS = {
    "retry": "The jobs run again with their full number of attempts.",
    "run": "Scheduled and retrying jobs become due now.",
    "cancel": "Pending jobs are cancelled. Running jobs are asked to stop.",
    "discard": "Removes them from the Dead letters and Failures pages. The jobs stay failed.",
    "edit": "Empty fields are left unchanged.",
    "delete": "Also deletes logs, attempts and dead letters. This can't be undone.",
}
#: Past participles of the verbs, after a number of jobs.
DONE = {
    "retry": "retried", "run": "due now", "cancel": "cancelled or stopping", "discard": "discarded",
    "edit": "changed", "delete": "deleted",
}  # fmt: skip
#: The message after an action on selected jobs.
BECAME = {
    "retry": "Retrying {jobs}.",
    "run": "{jobs} due now.",
    "cancel": "{jobs} cancelled or stopping.",
    "discard": "{dead_letters} discarded.",
    "delete": "{jobs} deleted.",
    "edit": "{jobs} changed.",
}
_NOW = {
    "completed": "completed", "failed": "failed again", "pending": "still waiting",
    "processing": "running", "cancelled": "cancelled",
}  # fmt: skip


def jobs(n: int) -> str:
    """ "1 job", "6,000 jobs"."""
    return f"{number(n)} {'job' if n == 1 else 'jobs'}"


def _filled(words: str, n: int) -> str:
    dead_letters = f"{number(n)} {'dead letter' if n == 1 else 'dead letters'}"
    return words.format(jobs=jobs(n), dead_letters=dead_letters)


def title(verb: str, n: int | None) -> str:
    """ "Cancel 6,000 jobs"; with None, if counting all of them took too long, "Cancel all matching jobs"."""
    if n is None:
        return _TITLES[verb].format(
            jobs="all matching jobs", dead_letters="all matching dead letters"
        )
    return _filled(_TITLES[verb], n)


def became(verb: str, n: int) -> str:
    """ "Retrying 4 jobs.", "1 job deleted."."""
    return _filled(BECAME[verb], n)


@dataclass(frozen=True)
class Choice:
    """One verb of a preview: its button and its effect."""

    verb: str
    n: int
    title: str
    effect: str
    kinds: str  # "charge-card 400 · echo 200"
    is_exact: bool = True  # else there are more than n

    @property
    def is_typed(self) -> bool:
        """Whether the count has to be typed."""
        return self.verb == "delete" and self.n > ASKS_ABOVE


def choices(preview: Preview, only: str | None = None) -> list[Choice]:
    """The verbs that apply to at least one job, the irreversible one last."""
    # Deleting can't be undone, so it needs an exact number.
    order = [*(v for v in VERBS if v != "delete"), *(["delete"] if preview.is_exact else [])]
    counts = preview.counts
    return [_choice(preview, verb) for verb in order if counts[verb] and only in (None, verb)]


def _choice(preview: Preview, verb: str) -> Choice:
    n, words, effect = preview.counts[verb], _TITLES[verb], _EFFECTS[verb]
    if verb == "retry" and preview.restored:
        is_all = preview.restored == n
        words = "Restore {jobs}" if is_all else words
        who = (
            "The jobs return"
            if is_all
            else f"{number(preview.restored)} of them return{'s' if preview.restored == 1 else ''}"
        )
        effect = f"{who} to their schedule." + ("" if is_all else " The others run now.")
    # For dead letters only their number is known.
    kinds = "" if verb == "discard" else _kinds(preview.of(verb))
    if not preview.is_exact:
        counted = f"At least {number(n)} match; counting all of them takes too long."
        return Choice(verb, n, title(verb, None), f"{counted} {_EFFECTS[verb]}", "", is_exact=False)
    return Choice(verb, n, _filled(words, n), effect, kinds)


def _kinds(parts: list[Part]) -> str:
    counted = by_count(
        (part.type if part.type == part.queue else f"{part.type} in {part.queue}", part.n)
        for part in parts
    )
    shown = [f"{name} {number(n)}" for name, n in counted[:KINDS_SHOWN]]
    rest = len(counted) - KINDS_SHOWN
    return " · ".join([*shown, *([f"{rest} other kinds"] if rest > 0 else [])])


@dataclass(frozen=True)
class Became:
    """How many jobs of an action are in one state now, with a link to their list."""

    label: str
    n: int
    link: Link | None


def became_of(action: BulkAction, outcome: Outcome) -> list[Became]:
    """The jobs that the action changed, by their state now; [] for verbs after which a job has no further states."""
    if VERBS[action.verb].is_last:
        return []
    parts = [
        Became(_NOW[status], n, Link("dashboard.jobs", {"bulk": action.id, "status": status}))
        for status in ("completed", "failed", "processing", "pending", "cancelled")
        if (n := outcome.by_status[status])
    ]
    return [*parts, *([Became("deleted since", outcome.gone, None)] if outcome.gone else [])]
