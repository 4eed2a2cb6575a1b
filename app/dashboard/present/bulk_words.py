"""How bulk actions read: titles, what a verb does, what became of the jobs."""

from __future__ import annotations

from dataclasses import dataclass

from app.dashboard.present.format import number
from app.dashboard.present.link import Link
from app.jobs.bulk import Outcome
from app.jobs.bulk.scope import Part, Preview, most_first
from app.jobs.models import BulkAction
from app.jobs.verbs import VERBS

#: Above this a deletion wants its count typed, and the failures page asks before it retries.
ASKS_ABOVE = 100
KINDS_SHOWN = 4

_TITLES = {
    "retry": "Retry {jobs}", "run": "Run {jobs} now", "cancel": "Cancel {jobs}",
    "discard": "Discard {failures}", "edit": "Change {jobs}", "delete": "Delete {jobs}",
}  # fmt: skip
_EFFECTS = {
    "retry": "They run again, with all their attempts.",
    "run": "Scheduled and retrying jobs become due at once.",
    "cancel": "Waiting jobs are cancelled, running jobs are asked to stop.",
    "discard": "Closes their dead letters. The jobs stay failed.",
    "edit": "Empty fields stay unchanged.",
    "delete": "With their logs, attempts and dead letters. This can't be undone.",
}
#: What was done to the jobs that a verb changed.
DONE = {
    "retry": "put back", "run": "due now", "cancel": "cancelled or stopping", "discard": "discarded",
    "edit": "changed", "delete": "deleted",
}  # fmt: skip
#: What became of selected jobs.
BECAME = {
    "retry": "Retrying {jobs}.",
    "run": "{jobs} due now.",
    "cancel": "{jobs} cancelled or stopping.",
    "discard": "{failures} discarded.",
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
    failures = f"{number(n)} {'failure' if n == 1 else 'failures'}"
    return words.format(jobs=jobs(n), failures=failures)


def title(verb: str, n: int | None) -> str:
    """ "Cancel 6,000 jobs"; with None, where they were not all counted, "Cancel all matching jobs"."""
    if n is None:
        return _TITLES[verb].format(jobs="all matching jobs", failures="all matching failures")
    return _filled(_TITLES[verb], n)


def became(verb: str, n: int) -> str:
    """ "Retrying 4 jobs.", "1 job deleted."."""
    return _filled(BECAME[verb], n)


@dataclass(frozen=True)
class Choice:
    """One verb of a preview: its button and what it would do."""

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
    """The verbs that apply to something, the irreversible one last."""
    # What can't be undone wants an exact number.
    order = [*(v for v in VERBS if v != "delete"), *(["delete"] if preview.is_exact else [])]
    counts = preview.counts
    return [_choice(preview, verb) for verb in order if counts[verb] and only in (None, verb)]


def _choice(preview: Preview, verb: str) -> Choice:
    n, words, effect = preview.counts[verb], _TITLES[verb], _EFFECTS[verb]
    if verb == "retry" and preview.restored:
        is_all = preview.restored == n
        words = "Restore {jobs}" if is_all else words
        who = "They go" if is_all else f"{number(preview.restored)} of them go"
        effect = f"{who} back to their schedule." + ("" if is_all else " The others run at once.")
    # Of dead letters only their number is known.
    kinds = "" if verb == "discard" else _kinds(preview.of(verb))
    if not preview.is_exact:
        counted = f"At least {number(n)} match; counting all of them takes too long."
        return Choice(verb, n, title(verb, None), f"{counted} {_EFFECTS[verb]}", "", is_exact=False)
    return Choice(verb, n, _filled(words, n), effect, kinds)


def _kinds(parts: list[Part]) -> str:
    counted = most_first(
        (part.type if part.type == part.queue else f"{part.type} in {part.queue}", part.n)
        for part in parts
    )
    shown = [f"{name} {number(n)}" for name, n in counted[:KINDS_SHOWN]]
    rest = len(counted) - KINDS_SHOWN
    return " · ".join([*shown, *([f"{rest} other kinds"] if rest > 0 else [])])


@dataclass(frozen=True)
class Became:
    """What some jobs of an action are doing now, and the list of them."""

    label: str
    n: int
    link: Link | None


def became_of(action: BulkAction, outcome: Outcome) -> list[Became]:
    """The jobs that the action changed by what they do now; nothing for verbs that end them."""
    if VERBS[action.verb].is_last:
        return []
    parts = [
        Became(_NOW[status], n, Link("dashboard.jobs", {"bulk": action.id, "status": status}))
        for status in ("completed", "failed", "processing", "pending", "cancelled")
        if (n := outcome.by_status[status])
    ]
    return [*parts, *([Became("deleted since", outcome.gone, None)] if outcome.gone else [])]
