"""Error groups and their retries in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.dashboard.present.bulk_words import Became, became_of
from app.dashboard.present.format import number, span
from app.jobs.bulk import Outcome
from app.jobs.error_group_states import GROWTH, VERBS
from app.jobs.listing import ErrorGroup
from app.jobs.models import BulkAction

#: The lists of groups: state → label.
VIEWS = {"open": "Open", "muted": "Muted", "resolved": "Resolved", "all": "All"}
#: A retry of at most this many jobs is a test of whether they work again.
CANARY = 10
#: What a person can do with a group: verb → button, what it does, what it did.
ACTIONS = {
    "acknowledge": ("Mark as known", "No longer shown as new", "Marked as known: {group}."),
    "mute": ("Mute", f"Until it fails {GROWTH} times as often as now", "Muted: {group}."),
    "resolve": ("Resolve", "Reopens when it fails again", "Resolved: {group}."),
    "reopen": ("Reopen", "Shows it under Open again", "Reopened: {group}."),
}
EMPTY = {
    "open": (
        "No failures.",
        "Failing jobs are grouped here by type, exception and location until they complete or you discard them.",
    ),
    "muted": ("No muted groups.", f"A muted group reopens when it fails {GROWTH} times as often."),
    "resolved": ("No resolved groups.", "A resolved group reopens when it fails again."),
    "all": ("No failures.", "Failed attempts are grouped here by type, exception and location."),
}


@dataclass(frozen=True)
class State:
    """A group's state: its label, its color, and a sentence or ""."""

    label: str
    tone: str
    note: str


def state_of(group: ErrorGroup) -> State:
    """ "New since 1.4.2", "Reopened" with the reason, …"""
    return State(_label(group), _TONES[group.state], _note(group))


_TONES = {"new": "new", "reopened": "new", "known": "plain", "muted": "plain", "resolved": "done"}


def _label(group: ErrorGroup) -> str:
    if group.state == "new" and group.first_version:
        return f"New since {group.first_version}"
    if group.state == "reopened" and group.reopened_version:
        return f"Reopened in {group.reopened_version}"
    return group.state.capitalize()


def _note(group: ErrorGroup) -> str:
    if group.state == "reopened":
        return _why_reopened(group)
    by = f"by {group.changed_by}" if group.changed_by else ""
    if group.state == "muted":
        return f"{by}; reopens at {number(group.reopens_at or 0)} failures an hour"
    return f"{by}; reopens when it fails again" if group.state == "resolved" else ""


def _why_reopened(group: ErrorGroup) -> str:
    if group.changed_by:
        return f"by {group.changed_by}"
    seconds = (group.changed_at - group.former_at).total_seconds() if group.former_at else 0
    later = "right" if seconds < 1 else span(seconds)
    after = f"{later} after {group.former_by or 'somebody'} "
    if group.former_state == "muted":
        return f"{GROWTH} times as frequent, {after}muted it"
    return f"failed again {after}resolved it"


def verbs_of(group: ErrorGroup) -> list[str]:
    """What a person can do with it."""
    return [verb for verb, (_, states) in VERBS.items() if group.state in states]


@dataclass(frozen=True)
class Verdict:
    """What became of a retry: ``tone`` is failed, done, or waiting while some have not ended."""

    name: str  # "Canary of 10"
    tone: str
    parts: list[Became]


def verdict(action: BulkAction, outcome: Outcome) -> Verdict:
    """ "Canary of 10: 10 of 10 failed again", or how far it is."""
    name = "Canary" if action.total <= CANARY else "Retry"
    parts, total = became_of(action, outcome), number(outcome.total)
    if is_waiting(outcome):
        return Verdict(f"{name} of {number(action.total)}", "waiting", parts)
    worded = [Became(f"of {total} {part.label}", part.n, part.link) for part in parts]
    failed = outcome.by_status["failed"]
    return Verdict(name, "failed" if failed else "done", worded)


def is_waiting(outcome: Outcome) -> bool:
    """Whether some of the jobs have not ended."""
    return bool(outcome.by_status["pending"] + outcome.by_status["processing"]) or not outcome.total


FILTERS: dict[str, Any] = {"group_state": state_of, "group_verbs": verbs_of}
