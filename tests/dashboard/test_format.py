"""How numbers, times, ids and errors read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.dashboard.present import format
from app.jobs.statistics.count import Count
from app.json_values import iso

NOW = datetime(2026, 5, 4, 10, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0"),
        (1234, "1,234"),
        (99_999, "99,999"),
        (100_000, "100 k"),
        (999_400, "999 k"),
        (999_999, "1.0 M"),
        (1_234_567, "1.2 M"),
        (123_456_789, "123 M"),
        (3_400_000_000, "3.4 B"),
    ],
)
def test_large_numbers_are_readable(n: int, text: str) -> None:
    assert format.compact(n) == text


def test_a_count_that_stopped_at_its_limit_says_so() -> None:
    assert format.compact(Count(10_000, is_exact=False)) == "10,000+"
    assert format.compact(Count(1_500_000, is_exact=False)) == "1.5 M+"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.0042, "4.2 ms"),
        (0.35, "350 ms"),
        (3.21, "3.2 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (125, "2 min 05 s"),
        (700, "11 min"),
        (3600, "1 h"),
        (11_520, "3 h 12 min"),
        (100 * 3600, "4 d 4 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float | None, text: str) -> None:
    assert format.duration(seconds) == text


@pytest.mark.parametrize(
    ("offset", "kind", "text"),
    [
        (0, "ago", "now"),
        (-12, "ago", "12 s ago"),
        (-185, "ago", "3 min ago"),
        (-7300, "ago", "2 h ago"),
        (-3 * 86400, "ago", "3 d ago"),
        (90, "ago", "in 1 min"),
        (12, "in", "in 12 s"),
        (-5, "in", "due"),
        (-42, "for", "42 s"),
        (0, "for", "0 s"),
    ],
)
def test_times_are_shown_relative_to_now(offset: float, kind: str, text: str) -> None:
    assert format.relative(NOW + timedelta(seconds=offset), kind, now=NOW) == text


def test_instants_have_the_format_of_the_api() -> None:
    assert iso(NOW) == "2026-05-04T10:00:00.123Z"
    assert format.absolute(NOW) == "2026-05-04 10:00:00 UTC"
    assert format.clock(NOW) == "10:00:00.123"


def test_a_short_id_is_its_end_because_its_start_is_the_time() -> None:
    assert format.short_id(UUID("01a20b68-9bec-4f34-9aef-ea35fe5ccbb7")) == "fe5ccbb7"


def test_the_last_line_of_an_error_is_what_matters() -> None:
    assert format.last_line("Traceback …\n  File …\nValueError: boom\n\n") == "ValueError: boom"
    assert format.last_line(None) == ""
    assert len(format.last_line("x" * 9000)) == 300


@pytest.mark.parametrize(
    ("n", "text"), [(812, "812 B"), (3482, "3.4 KB"), (1_300_000, "1.2 MB"), (5 << 30, "5.0 GB")]
)
def test_sizes_have_one_unit(n: int, text: str) -> None:
    assert format.size(n) == text


@pytest.mark.parametrize(("n", "text"), [(0, "0"), (0.4, "0.4"), (12.3, "12"), (1234.5, "1,234")])
def test_rates_keep_a_digit_only_while_they_are_small(n: float, text: str) -> None:
    assert format.rate(n) == text
