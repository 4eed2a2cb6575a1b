"""Bar charts as SVG, without scripts or inline styles, each with a text equivalent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

from app.dashboard.present.format import number
from app.jobs.listing import ErrorGroup
from app.jobs.statistics.summary import RANGES, Minute
from app.json_values import iso

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 144, 56, 24, 16
LABELS = {"hour": "last hour", "day": "last 24 hours", "week": "last 7 days"}
_UNITS = {"hour": "one minute", "day": "ten minutes", "week": "one hour"}
#: Range → seconds between points, seconds between labels, how labels read.
_SECONDS = {name: seconds for name, (_, seconds) in RANGES.items()}
_EVERY = {"hour": 600, "day": 4 * 3600, "week": 24 * 3600}
_FORMATS = {"hour": "time", "day": "time", "week": "day"}


@dataclass(frozen=True)
class Chart:
    """The jobs that finished over a range, as a drawing and as a sentence."""

    name: str
    title: str
    svg: Markup
    summary: Markup


def ended(points: Sequence[Minute], name: str) -> Chart:
    """Completed and, on top of them, failed jobs of each point."""
    top = nice(max((p.completed + p.failed for p in points), default=0))
    step = (WIDTH - LEFT) / len(points)
    bars = (_bar(index, point, step, top, name) for index, point in enumerate(points))
    # chart.js moves the labels to round times of the zone the reader chose.
    svg = Markup(
        f'<svg class="chart" id="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="chart-note"'
        f' data-first="{iso(points[0].minute)}" data-count="{len(points)}" data-seconds="{_SECONDS[name]}" data-every="{_EVERY[name]}"'
        f' data-format="{_FORMATS[name]}" data-left="{LEFT}" data-step="{step:.4f}">'
        f"{_scale(top)}{''.join(bars)}{''.join(_ticks(points, name, step))}</svg>"
    )
    return Chart(name, f"Finished jobs, {LABELS[name]}", svg, _sentence(points, name))


def _bar(index: int, point: Minute, step: float, top: int, name: str) -> str:
    total = point.completed + point.failed
    if not total:
        return ""
    height, x = HEIGHT - TOP - BOTTOM, LEFT + index * step
    up, failed = height * total / top, height * point.failed / top
    label = f": {number(point.completed)} completed, {number(point.failed)} failed"
    rects = [
        f'<rect class="bar-hit" x="{x:.1f}" y="{TOP}" width="{step:.1f}" height="{height}"/>',
        f'<rect class="bar-done" x="{x + step * 0.15:.1f}" y="{TOP + height - up + failed:.1f}" width="{step * 0.7:.1f}" height="{max(up - failed, 0):.1f}"/>',
    ]
    if point.failed:
        rects.append(
            f'<rect class="bar-failed" x="{x + step * 0.15:.1f}" y="{TOP + height - up:.1f}" width="{step * 0.7:.1f}" height="{max(failed, 1.5):.1f}"/>'
        )
    when = f"{point.minute:%H:%M}" if name == "hour" else f"{point.minute:%a %H:%M}"
    title = f'<title data-at="{iso(point.minute)}" data-label="{label}">{when} UTC{label}</title>'
    return f"<g>{title}{''.join(rects)}</g>"


def _scale(top: int) -> str:
    height = HEIGHT - TOP - BOTTOM
    return "".join(
        f'<line class="chart-line" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/><text class="chart-text" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_axis(int(value))}</text>'
        for value, y in ((top, TOP), (top / 2, TOP + height / 2), (0, TOP + height))
        if value == int(value)
    )


def _ticks(points: Sequence[Minute], name: str, step: float) -> Iterator[str]:
    """Labels at round times in UTC, and an empty extra label: another time zone may need one more."""
    every = _EVERY[name]
    at_tick = [i for i, p in enumerate(points) if p.minute.timestamp() % every == 0]
    for i in at_tick:
        label = f"{points[i].minute:%a}" if name == "week" else f"{points[i].minute:%H:%M}"
        yield f'<text class="chart-text chart-tick" x="{LEFT + i * step:.1f}" y="{HEIGHT - 4}">{label}</text>'
    yield f'<text class="chart-text chart-tick" x="0" y="{HEIGHT - 4}"></text>'


def spark(group: ErrorGroup) -> Markup:
    """A group's failed attempts by hour as bars over the width, each labelled; the current hour in red."""
    counts, height, step = group.per_hour, 24, 10
    top, last = max(counts, default=0) or 1, len(counts) - 1
    bars = "".join(
        _hour(i * step, group.hours_from + timedelta(hours=i), n, height * n / top, height, is_now=i == last)
        for i, n in enumerate(counts)
    )  # fmt: skip
    summary = f"{number(sum(counts))} failed attempts in the last {len(counts)} hours, {number(counts[-1])} in the current hour"
    return Markup(
        f'<svg class="spark" viewBox="0 0 {len(counts) * step} {height}" preserveAspectRatio="none" role="img" aria-label="{summary}">{bars}</svg>'
    )


def _hour(x: int, at: datetime, n: int, up: float, height: int, *, is_now: bool) -> str:
    label = f": {number(n)} failed attempt{'' if n == 1 else 's'}"
    up = max(up, 2) if n else 1
    tone = "bar-failed" if is_now and n else "bar-past" if n else "bar-none"
    return (
        f'<g><title data-at="{iso(at)}" data-label="{label}">{at:%a %H:%M} UTC{label}</title>'
        f'<rect class="bar-hit" x="{x}" y="0" width="10" height="{height}"/>'
        f'<rect class="{tone}" x="{x + 1}" y="{height - up:.1f}" width="8" height="{up:.1f}"/></g>'
    )


def nice(value: int) -> int:
    """The next round number: half of it is a whole number, and little of the scale stays empty."""
    for step in (2, 4, 6, 8, 10, 12, 16, 20):
        if value <= step:
            return step
    size = 10
    while True:
        for tenths in (12, 16, 20, 24, 30, 40, 50, 60, 80, 100):
            if value <= tenths * size // 10:
                return tenths * size // 10
        size *= 10


def _axis(value: int) -> str:
    """Short enough for the margin: 400, 1k, 1.2k, 38k, 2M."""
    for size, unit in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return str(value)


def _sentence(points: Sequence[Minute], name: str) -> Markup:
    completed, failed = sum(p.completed for p in points), sum(p.failed for p in points)
    if not completed + failed:
        return Markup("Nothing finished in the {}.").format(LABELS[name])
    peak = max(points, key=lambda p: p.completed + p.failed)
    when = f"{peak.minute:%H:%M}" if name == "hour" else f"{peak.minute:%a %H:%M}"
    return Markup(
        "{} completed and {} failed in the {}; peak of {} in {} at "
        '<time datetime="{}" data-kind="{}">{} UTC</time>.'
    ).format(
        number(completed), number(failed), LABELS[name], number(peak.completed + peak.failed),
        _UNITS[name], iso(peak.minute), "minute" if name == "hour" else "day-minute", when,
    )  # fmt: skip


FILTERS: dict[str, Any] = {"spark": spark}
