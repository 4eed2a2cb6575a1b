"""Bars as SVG, drawn here: no script, no inline style; with a sentence that says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from app.dashboard.format import compact, number
from app.jobs.queries import FailureGroup
from app.jobs.stats import Minute

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 132, 44, 20, 8
LABELS = {"hour": "last hour", "day": "last 24 hours", "week": "last 7 days"}
_UNITS = {"hour": "one minute", "day": "ten minutes", "week": "one hour"}


@dataclass(frozen=True)
class Chart:
    """What ended over a range, as a drawing and as a sentence."""

    name: str
    title: str
    svg: Markup
    summary: str


def ended(points: Sequence[Minute], name: str) -> Chart:
    """Completed and, on top of them, failed jobs of each point."""
    top = nice(max((p.completed + p.failed for p in points), default=0))
    step = (WIDTH - LEFT) / len(points)
    height = HEIGHT - TOP - BOTTOM
    bars = []
    for index, point in enumerate(points):
        x, total = LEFT + index * step, point.completed + point.failed
        if not total:
            continue
        up, failed = height * total / top, height * point.failed / top
        when = f"{point.minute:%H:%M}" if name == "hour" else f"{point.minute:%a %H:%M}"
        told = f"{when} UTC: {number(point.completed)} completed, {number(point.failed)} failed"
        bars.append(
            f"<g><title>{escape(told)}</title>"
            f'<rect class="bar-hit" x="{x:.1f}" y="{TOP}" width="{step:.1f}" height="{height}"/>'
            f'<rect class="bar-done" x="{x + step * 0.15:.1f}" y="{TOP + height - up + failed:.1f}" width="{step * 0.7:.1f}" height="{max(up - failed, 0):.1f}"/>'
            + (
                f'<rect class="bar-failed" x="{x + step * 0.15:.1f}" y="{TOP + height - up:.1f}" width="{step * 0.7:.1f}" height="{max(failed, 1.5):.1f}"/>'
                if point.failed
                else ""
            )
            + "</g>"
        )
    lines = "".join(
        f'<line class="chart-line" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/><text class="chart-text" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(compact(int(value)))}</text>'
        for value, y in ((top, TOP), (top / 2, TOP + height / 2), (0, TOP + height))
        if value == int(value)
    )
    ticks = "".join(
        f'<text class="chart-text" x="{LEFT + i * step:.1f}" y="{HEIGHT - 4}">{escape(_tick(points[i], name))}</text>'
        for i in range(0, len(points), _every(name))
    )
    summary = _sentence(points, name)
    svg = Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary)}">{lines}{"".join(bars)}{ticks}</svg>'
    )
    return Chart(name, f"Ended jobs, {LABELS[name]}", svg, summary)


def spark(group: FailureGroup) -> Markup:
    """A group's failed attempts by hour, one bar each, with the sentence that says the same."""
    counts, height, step = group.per_hour, 20, 4
    top = max(counts, default=0) or 1
    bars = "".join(
        f'<rect class="bar-failed" x="{i * step}" y="{height - max(height * n / top, 1.5):.1f}" width="{step - 1}" height="{max(height * n / top, 1.5):.1f}"/>'
        for i, n in enumerate(counts)
        if n
    )
    told = f"{number(sum(counts))} failed attempts in the last {len(counts)} hours, {number(counts[-1])} in this one"
    return Markup(
        f'<svg class="spark" viewBox="0 0 {len(counts) * step} {height}" role="img" aria-label="{told}"><title>{told}</title>{bars}</svg>'
    )


def nice(value: int) -> int:
    """The next of 2, 4, 10, 20, 40, 100 …: half of it is whole, too."""
    size = 1
    while True:
        for step in (2, 4, 10):
            if value <= step * size:
                return step * size
        size *= 10


def _every(name: str) -> int:
    return {"hour": 10, "day": 24, "week": 24}[name]


def _tick(point: Minute, name: str) -> str:
    return f"{point.minute:%a}" if name == "week" else f"{point.minute:%H:%M}"


def _sentence(points: Sequence[Minute], name: str) -> str:
    completed, failed = sum(p.completed for p in points), sum(p.failed for p in points)
    if not completed + failed:
        return f"Nothing ended in the {LABELS[name]}."
    most = max(points, key=lambda p: p.completed + p.failed)
    when = f"{most.minute:%H:%M}" if name == "hour" else f"{most.minute:%a %H:%M}"
    return (
        f"{number(completed)} completed and {number(failed)} failed in the {LABELS[name]};"
        f" most in {_UNITS[name]}: {number(most.completed + most.failed)} at {when} UTC."
    )


FILTERS: dict[str, Any] = {"spark": spark}
