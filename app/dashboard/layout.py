"""What every page shows around its content: counts in the navigation, and the health of the system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flask import request
from markupsafe import Markup

from app import cache
from app.dashboard import cached_reads, looks
from app.dashboard.present.format import compact, number
from app.dashboard.present.health_words import Health, LateSchedules, health_words
from app.dashboard.present.schedule_facts import why_late
from app.jobs.publication import is_redis_up
from app.jobs.statistics.backlog import total
from app.jobs.statistics.health import assess

#: The badge of the failures shows at most this number.
MOST_UNSEEN = 99


@dataclass(frozen=True)
class Layout:
    """Counts by view, the health, and the badges of the navigation."""

    counts: Mapping[str, int]
    health: Health
    badges: Mapping[str, Markup] = field(default_factory=dict)


def layout() -> Layout:
    """At most a second old; shared by all tabs of this process, apart from the badge of the failures."""
    shared = cache.cached("dashboard.layout", cached_reads.QUICK_SECONDS, _read)
    return replace(shared, badges={**shared.badges, "nav-failures": _unseen_failures()})


def _unseen_failures() -> Markup:
    """What failed since this reader last looked; nothing on the pages that show it."""
    if request.endpoint in looks.PAGES:
        return Markup("")
    n = cached_reads.failed_since(looks.looked_at())
    label = "failed since you last looked"
    if n <= MOST_UNSEEN:
        return _badge(n, label)
    return Markup('<data value="{0:d}" title="{0:d}+ {1}">{0:d}+<span class="sr"> {1}</span></data>').format(
        MOST_UNSEEN, label
    )  # fmt: skip


def _read() -> Layout:
    counts, queues, workers = cached_reads.counts(), cached_reads.queues(), cached_reads.workers()
    alive = sum(worker.is_alive for worker in workers)
    health = assess(
        alive_workers=alive, is_redis_up=is_redis_up(), queues=queues, trend=cached_reads.trend(),
        drain_seconds=cached_reads.overview().drain_seconds,
    )  # fmt: skip
    trouble = cached_reads.schedule_trouble()
    late = LateSchedules(trouble.late, why_late(trouble.late_types, workers))
    paused = sum(queue.is_paused for queue in queues)
    return Layout(counts, health_words(health, late), _badges(counts, paused, alive, late.n))


def _badges(
    counts: Mapping[str, int], paused_queues: int, alive_workers: int, late: int
) -> dict[str, Markup]:
    badges = {name: _number(n) for name, n in counts.items()}
    badges["nav-processing"] = _badge(counts["processing"], "processing")
    badges["nav-paused"] = _badge(paused_queues, "paused")
    badges["nav-bulk"] = _badge(cached_reads.open_bulk_actions(), "not finished")
    badges["nav-late"] = _badge(late, "late")
    badges["waiting"] = _number(total(limit.waiting for limit in cached_reads.limits()))
    badges["nav-limits"] = _badge(sum(limit.is_paused for limit in cached_reads.limits()), "paused")
    badges["nav-workers"] = _badge(alive_workers, "alive", show_zero=True)
    return badges


def _number(n: int) -> Markup:
    return Markup('<data value="{:d}" title="{}">{}</data>').format(n, number(n), compact(n))


def _badge(n: int, word: str, *, show_zero: bool = False) -> Markup:
    """A count with its unit for screen readers; nothing for zero, which CSS then hides."""
    if not n and not show_zero:
        return Markup("")
    return Markup('<data value="{:d}" title="{} {}">{}<span class="sr"> {}</span></data>').format(
        n, number(n), word, compact(n), word
    )
