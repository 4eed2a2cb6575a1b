"""Texts of bulk actions: titles, effects of the verbs, and the state of the jobs now."""

from __future__ import annotations

from dataclasses import dataclass

from app.dashboard.present.format import number
from app.dashboard.present.link import Link
from app.jobs.bulk.actions import UNDO
from app.jobs.bulk.outcomes import Outcome
from app.jobs.bulk.scope import Preview
from app.jobs.models import BulkAction
from app.jobs.verbs import VERBS

#: Above this count, the user has to type it to cancel, discard or delete, and the failures page asks before a retry.
ASKS_ABOVE = 100
VALUES_SHOWN = 5
#: What the form offers as the number of jobs a second.
SPEEDS = (1000, 100, 10, 1)

_TITLES = {
    "retry": "Retry {jobs}", "run": "Run {jobs} now", "cancel": "Cancel {jobs}",
    "discard": "Discard {dead_letters}", "edit": "Change {jobs}", "delete": "Delete {jobs}",
}  # fmt: skip
_EFFECTS = {
    "retry": "The jobs run again with their full number of attempts.",
    "run": "Scheduled and retrying jobs become due now.",
    "cancel": "Pending jobs are cancelled. Running jobs are asked to stop.",
    "discard": "Removes them from the Dead letters and Failures pages. The jobs stay failed.",
    "edit": "Sets another priority or queue; empty fields stay unchanged.",
    "delete": "Also deletes logs, attempts and dead letters. This can't be undone.",
}
#: Past participles of the verbs, after a number of jobs.
DONE = {
    "retry": "retried", "run": "due now", "cancel": "cancelled or stopping", "discard": "discarded",
    "edit": "changed", "delete": "deleted", "undo": "restored",
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
    "completed": "completed", "failed": "failed", "pending": "waiting", "processing": "running", "cancelled": "cancelled",
}  # fmt: skip
_NOW_AFTER_RETRY = _NOW | {"failed": "failed again", "pending": "still waiting"}


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


def title_of(action: BulkAction) -> str:
    """ "Cancel 6,000 jobs", "Undo “Cancel 6,000 jobs”"."""
    if action.verb != UNDO:
        return title(action.verb, action.total)
    return f"Undo “{title(action.args['verb'], action.args['total'])}”"


def undo_label(action: BulkAction, outcome: Outcome) -> str | None:
    """The button that undoes the action: "Undo", "Undo for 4,470 jobs"; None if there is nothing to undo."""
    if not action.has_begun:
        return None if action.finished_at else "Undo"
    is_possible = action.verb != UNDO and VERBS[action.verb].is_undoable and outcome.undoable
    return f"Undo for {jobs(outcome.undoable)}" if is_possible else None


def status_line(action: BulkAction) -> str:
    """How far the action is: "4,500 cancelled or stopping, 12 skipped (…), 1,488 remaining."."""
    if action.state == "undone":
        return "No jobs were changed."
    if not action.has_begun and not action.finished_at:
        is_late = action.state == "running"
        return f"No jobs have been changed yet{', waiting for a worker' if is_late else ''}."
    parts = [f"{number(action.done)} {DONE[action.verb]}"]
    if action.refused:
        parts.append(
            f"{number(action.refused)} skipped (changed since the preview, or not allowed)"
        )
    if left := action.total - action.done - action.refused:
        parts.append(f"{number(left)} {'not reached' if action.cancelled_by else 'remaining'}")
    return ", ".join(parts) + "."


def late_line(action: BulkAction) -> str | None:
    """Which jobs are not included, and why."""
    if not action.late:
        return None
    are = "is" if action.late == 1 else "are"
    if action.verb == UNDO:
        return f"{jobs(action.late)} {are} not restored: they have run or changed since, or were deleted."
    return f"{jobs(action.late)} arrived or changed after the preview and {are} not included."


@dataclass(frozen=True)
class Choice:
    """One verb of a preview: its button and its effect."""

    verb: str
    n: int
    title: str
    effect: str
    is_exact: bool = True  # else there are more than n

    @property
    def expected(self) -> int | None:
        """How many jobs it is about; None if counting all of them took too long."""
        return self.n if self.is_exact else None

    @property
    def is_asked(self) -> bool:
        return is_asked(self.verb, self.expected)

    @property
    def is_typed(self) -> bool:
        """Whether the count has to be typed."""
        return self.is_asked and self.is_exact and self.n > ASKS_ABOVE


def is_asked(verb: str, n: int | None) -> bool:
    """Whether to ask again before doing ``verb`` to ``n`` jobs (None: not counted)."""
    is_many = n is None or n > ASKS_ABOVE
    return not VERBS[verb].is_undoable or (VERBS[verb].is_destructive and is_many)


_QUESTIONS = {
    "delete": "{title}, including logs and attempts? This can't be undone.",
    "cancel": "{title}? Running jobs are asked to stop, which can't be undone.",
    "discard": "{title}? The jobs stay failed.",
}


def question(verb: str, n: int | None) -> str:
    """The text of the dialog: "Cancel 6,000 jobs? …"."""
    return _QUESTIONS[verb].format(title=title(verb, n))


@dataclass(frozen=True)
class Breakdown:
    """The jobs of a verb by one property: its largest values, and how many others there are."""

    heading: str
    values: list[tuple[str, int]]
    others: int


def breakdowns(preview: Preview, verb: str) -> list[Breakdown]:
    """By type, queue and status."""
    counted = [
        (heading, preview.by(verb, name))
        for heading, name in (("Type", "type"), ("Queue", "queue"), ("Status", "view"))
    ]
    return [
        Breakdown(heading, values[:VALUES_SHOWN], max(len(values) - VALUES_SHOWN, 0))
        for heading, values in counted
    ]


def of_what(preview: Preview, verb: str) -> str:
    """The end of the sentence "Cancel 6,000 jobs …": "of export-report in queue reports", "of 3 types in 2 queues"."""
    types, queues = preview.by(verb, "type"), preview.by(verb, "queue")
    of = f"of {types[0][0]}" if len(types) == 1 else f"of {number(len(types))} types"
    where = f"queue {queues[0][0]}" if len(queues) == 1 else f"{number(len(queues))} queues"
    return f"{of} in {where}"


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
    if not preview.is_exact:
        counted = f"At least {number(n)} match; counting all of them takes too long."
        return Choice(verb, n, title(verb, None), f"{counted} {_EFFECTS[verb]}", is_exact=False)
    return Choice(verb, n, _filled(words, n), effect)


@dataclass(frozen=True)
class Became:
    """How many jobs of an action are in one state now, with a link to their list."""

    label: str
    n: int
    link: Link | None


def became_of(action: BulkAction, outcome: Outcome) -> list[Became]:
    """The jobs that the action changed, by their state now; [] for verbs after which a job has no further states."""
    if action.verb != UNDO and VERBS[action.verb].is_last:
        return []
    words = _NOW_AFTER_RETRY if action.verb in ("retry", "run") else _NOW
    parts = [
        Became(words[status], n, Link("dashboard.jobs", {"bulk": action.id, "status": status}))
        for status in ("completed", "failed", "processing", "pending", "cancelled")
        if (n := outcome.by_status[status])
    ]
    return [*parts, *([Became("deleted since", outcome.gone, None)] if outcome.gone else [])]
