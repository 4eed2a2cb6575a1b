"""What the pages of limits show: numbers, slots in use, and the line of their starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from app.dashboard.present.charts import nice
from app.dashboard.present.format import number
from app.dashboard.present.job_facts import Fact
from app.dashboard.present.link import Link
from app.jobs.limits.definition import Rate
from app.jobs.limits.listing import KeySummary, LimitSummary

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 480, 120, 44, 20, 12
#: Column that an operator set → its name on the page.
NUMBERS = {
    "concurrency": "concurrency", "rate_count": "rate", "key_concurrency": "concurrency per key",
    "key_rate_count": "rate per key",
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """How much of a bound is in use."""

    used: int
    of: int | None  # None: no bound

    @property
    def words(self) -> str:
        """ "18 of 20 running", or "18 running" without a bound."""
        bound = "" if self.of is None else f" of {number(self.of)}"
        return f"{number(self.used)}{bound} running"


def bar(limit: LimitSummary) -> Bar:
    """The slots of the limit that are in use."""
    return Bar(limit.running + limit.admitted, limit.effective.concurrency)


def key_bar(key: KeySummary, limit: LimitSummary) -> Bar:
    """The slots of the key that are in use."""
    bound = limit.effective.key_concurrency if key.concurrency is None else key.concurrency
    return Bar(key.running + key.admitted, bound)


def under(limit: LimitSummary) -> str:
    """What is under the limit: "charge, refund, queue mail"."""
    return ", ".join([*limit.types, *(f"queue {name}" for name in limit.queues)])


def rate_words(rate: Rate | None) -> str:
    """ "100/s", "30/min", "5 per 10 s"; "" without a rate."""
    if rate is None:
        return ""
    units = {1: "s", 60: "min", 3600: "h"}
    if unit := units.get(int(rate.per)) if rate.per == int(rate.per) else None:
        return f"{number(rate.count)}/{unit}"
    return f"{number(rate.count)} per {rate.per:g} s"


def rate_now(per_second: float, rate: Rate) -> str:
    """How many start in the time of the rate, to be compared with it: "96", "4.2"."""
    n = per_second * rate.per
    return f"{n:.1f}" if 0 < n < 9.95 else number(round(n))


def facts(limit: LimitSummary) -> list[Fact]:
    """Its numbers as they hold, and where they differ from those of the code."""
    return list(_facts(limit))


def _facts(limit: LimitSummary) -> Iterator[Fact]:
    now, code = limit.effective, limit.definition
    yield Fact("Concurrency", _changed(_count(now.concurrency), _count(code.concurrency)))
    yield Fact("Rate", _changed(_rate(now.rate), _rate(code.rate)))
    yield Fact("Key", now.by or "as each job says")
    yield Fact(
        "Concurrency per key", _changed(_count(now.key_concurrency), _count(code.key_concurrency))
    )
    yield Fact("Rate per key", _changed(_rate(now.key_rate), _rate(code.key_rate)))
    if limit.override:
        by = f" by {limit.overridden_by}" if limit.overridden_by else ""
        yield Fact(f"Overridden{by}", limit.overridden_at, "time")
    if limit.paused_at:
        by = f" by {limit.paused_by}" if limit.paused_by else ""
        yield Fact(f"Paused{by}", limit.paused_at, "time")
    if limit.blocked_until:
        yield Fact("Closed until", limit.blocked_until, "time", "in")
    yield Fact("Defined in", "code" if limit.source == "code" else "API or dashboard")


def _count(n: int | None) -> str:
    return "no limit" if n is None else number(n)


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return "no limit"
    return f"{rate_words(rate)}, at most {number(rate.burst or 1)} at once"


def _changed(now: str, code: str) -> str:
    return now if now == code else f"{now} (in code: {code})"


def overridden(limit: LimitSummary) -> str:
    """ "concurrency, rate": the numbers that an operator set."""
    return ", ".join(words for column, words in NUMBERS.items() if column in limit.override)


def uses(limit: LimitSummary) -> list[tuple[str, str, Link]]:
    """(kind, name, link to its jobs) of what is under the limit."""
    types = [("type", name, Link("dashboard.jobs", {"type": name})) for name in limit.types]
    queues = [("queue", name, Link("dashboard.jobs", {"queue": name})) for name in limit.queues]
    return [*types, *queues]


@dataclass(frozen=True)
class StartsChart:
    """The starts of the last minute, as a drawing and as a sentence."""

    svg: Markup
    summary: str


def starts_chart(per_second: Sequence[int | None], rate: Rate | None) -> StartsChart:
    """A line of the starts per second, and the allowed rate as a straight line."""
    allowed = rate.count / rate.per if rate else None
    known = [n for n in per_second if n is not None]
    top = nice(int(max([*known, allowed or 0, 1]) + 0.999))
    height, step = HEIGHT - TOP - BOTTOM, (WIDTH - LEFT) / max(len(per_second) - 1, 1)

    def y(n: float) -> float:
        return TOP + height * (1 - n / top)

    points = " ".join(
        f"{LEFT + i * step:.1f},{y(n):.1f}" for i, n in enumerate(per_second) if n is not None
    )
    scale = "".join(
        f'<line class="chart-line" x1="{LEFT}" x2="{WIDTH}" y1="{y(n):.1f}" y2="{y(n):.1f}"/>'
        f'<text class="chart-text" x="{LEFT - 6}" y="{y(n) + 4:.1f}" text-anchor="end">{number(n)}</text>'
        for n in (0, top)
    )
    ticks = "".join(
        f'<text class="chart-text" x="{LEFT + i * step:.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{label}</text>'
        for i, label, anchor in (
            (0, f"{len(per_second)} s ago", "start"),
            (len(per_second) - 1, "now", "end"),
        )
    )
    line = "" if allowed is None else (
        f'<line class="starts-allowed" x1="{LEFT}" x2="{WIDTH}" y1="{y(allowed):.1f}" y2="{y(allowed):.1f}"/>'
    )  # fmt: skip
    svg = Markup(
        f'<svg class="chart is-starts" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="starts-note">'
        f'{scale}{ticks}{line}<polyline class="starts-line" points="{points}"/></svg>'
    )
    return StartsChart(svg, _starts_words(per_second, known, rate))


def _starts_words(per_second: Sequence[int | None], known: Sequence[int], rate: Rate | None) -> str:
    n, seconds = sum(known), len(known)
    allowed = f"; {rate_words(rate)} allowed" if rate else ""
    lately = "in the last second" if seconds == 1 else f"in the last {seconds} seconds"
    if not n:
        return f"No starts {lately}{allowed}."
    noun = "start" if n == 1 else "starts"
    partial = "" if seconds == len(per_second) else " Earlier seconds are not known."
    return (
        f"{number(n)} {noun} {lately}, at most {number(max(known))} in a second{allowed}.{partial}"
    )


FILTERS: dict[str, Callable[..., Any]] = {
    "limit_bar": bar,
    "limit_key_bar": key_bar,
    "limit_under": under,
    "limit_uses": uses,
    "limit_overridden": overridden,
    "rate_words": rate_words,
    "rate_now": rate_now,
}
