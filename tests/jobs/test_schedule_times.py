"""When schedules run: the whole table of clock changes, and properties over all zones."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.jobs.schedules import times, zones

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z") + "+00:00")


def runs_between(zone: str, line: str, start: datetime, end: datetime) -> list[datetime]:
    """The runs in (start, end]."""
    runs, at = [], times.after(line, zone, start)
    while at is not None and at <= end:
        runs.append(at)
        at = times.after(line, zone, at)
    return runs


def runs_of_day(zone: str, line: str, day: str) -> list[str]:
    """The runs of a local day, as ``MM-DDTHH:MM`` in UTC."""
    midnight = datetime.fromisoformat(day)
    start = times.first_instant(zones.get(zone), midnight)
    end = times.first_instant(zones.get(zone), midnight + timedelta(days=1))
    second = timedelta(seconds=1)
    return [f"{run:%m-%dT%H:%M}" for run in runs_between(zone, line, start - second, end - second)]


# zone, line, local day, its runs in UTC
TABLE = [
    (BERLIN, "30 2 * * *", "2026-03-28", "03-28T01:30"),
    (BERLIN, "30 2 * * *", "2026-03-29", "03-29T01:00"),  # moved to 03:00
    (BERLIN, "30 2 * * *", "2026-03-30", "03-30T00:30"),
    (BERLIN, "30 2 * * *", "2026-10-24", "10-24T00:30"),
    (BERLIN, "30 2 * * *", "2026-10-25", "10-25T00:30"),  # not 01:30
    (BERLIN, "30 2 * * *", "2026-10-26", "10-26T01:30"),
    (BERLIN, "30 2 * * *", "2027-03-28", "03-28T01:00"),
    (BERLIN, "30 2 * * *", "2027-10-31", "10-31T00:30"),
    (BERLIN, "0 2,3 * * *", "2026-03-29", "03-29T01:00"),
    (BERLIN, "0 2,3 * * *", "2026-10-25", "10-25T00:00 10-25T02:00"),
    (BERLIN, "0 2,3 * * *", "2027-03-28", "03-28T01:00"),
    (BERLIN, "0 2,3 * * *", "2027-10-31", "10-31T00:00 10-31T02:00"),
    (BERLIN, "*/20 2 * * *", "2026-03-29", "03-29T01:00"),
    (BERLIN, "*/20 2 * * *", "2026-10-25", "10-25T00:00 10-25T00:20 10-25T00:40"),
    (BERLIN, "*/20 2 * * *", "2027-03-28", "03-28T01:00"),
    (BERLIN, "*/20 2 * * *", "2027-10-31", "10-31T00:00 10-31T00:20 10-31T00:40"),
    (NEW_YORK, "30 2 * * *", "2026-03-08", "03-08T07:00"),  # moved
    (NEW_YORK, "30 2 * * *", "2026-11-01", "11-01T07:30"),
    (NEW_YORK, "30 2 * * *", "2027-03-14", "03-14T07:00"),
    (NEW_YORK, "30 2 * * *", "2027-11-07", "11-07T07:30"),
    (NEW_YORK, "30 1 * * *", "2026-03-08", "03-08T06:30"),
    (NEW_YORK, "30 1 * * *", "2026-11-01", "11-01T05:30"),  # not 06:30
    (NEW_YORK, "30 1 * * *", "2027-03-14", "03-14T06:30"),
    (NEW_YORK, "30 1 * * *", "2027-11-07", "11-07T05:30"),
    (NEW_YORK, "15,45 1-2 * * *", "2026-03-08", "03-08T06:15 03-08T06:45 03-08T07:00"),
    (NEW_YORK, "15,45 1-2 * * *", "2026-11-01", "11-01T05:15 11-01T05:45 11-01T07:15 11-01T07:45"),
    (NEW_YORK, "15,45 1-2 * * *", "2027-03-14", "03-14T06:15 03-14T06:45 03-14T07:00"),
    (NEW_YORK, "15,45 1-2 * * *", "2027-11-07", "11-07T05:15 11-07T05:45 11-07T07:15 11-07T07:45"),
    (LORD_HOWE, "15 2 * * *", "2026-04-05", "04-04T15:45"),
    (LORD_HOWE, "15 2 * * *", "2026-10-04", "10-03T15:30"),  # moved to 02:30
    (LORD_HOWE, "15 2 * * *", "2027-04-04", "04-03T15:45"),
    (LORD_HOWE, "15 2 * * *", "2027-10-03", "10-02T15:30"),
    (LORD_HOWE, "45 1 * * *", "2026-04-05", "04-04T14:45"),  # not 15:15
    (LORD_HOWE, "45 1 * * *", "2026-10-04", "10-03T15:15"),
    (LORD_HOWE, "45 1 * * *", "2027-04-04", "04-03T14:45"),
    (LORD_HOWE, "45 1 * * *", "2027-10-03", "10-02T15:15"),
    (
        LORD_HOWE,
        "*/10 2 * * *",
        "2026-04-05",
        "04-04T15:30 04-04T15:40 04-04T15:50 04-04T16:00 04-04T16:10 04-04T16:20",
    ),
    (LORD_HOWE, "*/10 2 * * *", "2026-10-04", "10-03T15:30 10-03T15:40 10-03T15:50"),
    (
        LORD_HOWE,
        "*/10 2 * * *",
        "2027-04-04",
        "04-03T15:30 04-03T15:40 04-03T15:50 04-03T16:00 04-03T16:10 04-03T16:20",
    ),
    (LORD_HOWE, "*/10 2 * * *", "2027-10-03", "10-02T15:30 10-02T15:40 10-02T15:50"),
    ("America/Santiago", "0 0 * * *", "2026-09-06", "09-06T04:00"),  # midnight does not exist
    ("America/Santiago", "30 23 * * *", "2026-04-04", "04-05T02:30"),
    ("Africa/Cairo", "0 0 * * *", "2026-04-24", "04-23T22:00"),
    ("Pacific/Chatham", "15 3 * * *", "2026-09-27", "09-26T14:00"),
    # The system's zones of 2025b say 17:00.
    ("America/Vancouver", "0 9 * * *", "2026-11-02", "11-02T16:00"),
]


@pytest.mark.parametrize(("zone", "line", "day", "expected"), TABLE)
def test_the_runs_of_a_day_when_the_clock_changes(zone, line, day, expected):
    assert runs_of_day(zone, line, day) == expected.split()


@pytest.mark.parametrize("change", ["2026-03-29", "2026-10-25", "2027-03-28", "2027-10-31"])
@pytest.mark.parametrize(("line", "minutes"), [("0 * * * *", 60), ("*/30 * * * *", 30)])
def test_hourly_remains_hourly(line, minutes, change):
    start = utc(f"{change}T00:00:00Z") - timedelta(days=1)

    runs = runs_between(BERLIN, line, start, start + timedelta(days=3))

    assert len(runs) == 72 * 60 // minutes
    assert {b - a for a, b in itertools.pairwise(runs)} == {timedelta(minutes=minutes)}


def test_a_repeated_hour_has_its_label_twice():
    runs = runs_between(BERLIN, "0 * * * *", utc("2026-10-24T23:30:00Z"), utc("2026-10-25T01:30Z"))

    assert [f"{times.local(BERLIN, run):%H:%M %z}" for run in runs] == [
        "02:00 +0200",
        "02:00 +0100",
    ]


@pytest.mark.parametrize(
    ("zone", "line", "start", "expected"),
    [
        (NEW_YORK, "0 */2 * * *", "2026-03-08T04:30Z", "03-08T05:00 03-08T08:00"),
        (NEW_YORK, "0 */2 * * *", "2026-11-01T03:30Z", "11-01T04:00 11-01T07:00"),
        (LORD_HOWE, "0 * * * *", "2026-04-04T13:30Z", "04-04T14:00 04-04T15:30 04-04T16:30"),
        (LORD_HOWE, "0 * * * *", "2026-10-03T14:00Z", "10-03T14:30 10-03T16:00 10-03T17:00"),
    ],
)
def test_lines_that_name_no_hour_follow_the_clock(zone, line, start, expected):
    runs, at = [], utc(start)
    for _ in expected.split():
        at = times.after(line, zone, at)
        runs.append(f"{at:%m-%dT%H:%M}")

    assert runs == expected.split()


def test_a_day_that_a_zone_skipped():
    """Samoa had no 30 December 2011."""
    assert runs_between(
        "Pacific/Apia", "0 12 * * *", utc("2011-12-29T00:00Z"), utc("2012-01-01T00:00Z")
    ) == [utc("2011-12-29T22:00Z"), utc("2011-12-30T10:00Z"), utc("2011-12-30T22:00Z"), utc("2011-12-31T22:00Z")]  # fmt: skip


def test_a_match_repeats_even_if_the_next_one_is_a_year_away():
    """The last match before the clock goes back, of a line that does not name its hours."""
    line = "15 2-3/2 25 10 *"

    runs = runs_between(BERLIN, line, utc("2026-10-01T00:00Z"), utc("2027-11-01T00:00Z"))

    assert runs == [utc("2026-10-25T00:15Z"), utc("2026-10-25T01:15Z"), utc("2027-10-25T00:15Z")]


@pytest.mark.parametrize(
    ("line", "names_hours"),
    [
        ("0 9 * * *", True),
        ("*/5 9-17 * * *", True),
        ("0 0-22 * * *", True),
        ("0 0-23 * * *", False),
        ("0 0-11,12-23 * * *", False),
        ("0 * * * *", False),
        ("0 */2 * * *", False),
        ("0 1-23/2 * * *", False),
    ],
)
def test_which_lines_name_their_hours(line, names_hours):
    assert times.parse(line).names_hours is names_hours


@pytest.mark.parametrize(
    ("line", "days"),
    [
        ("0 0 13 * FRI", "2026-01-02 2026-01-09 2026-01-13"),  # either
        ("0 0 */13 * FRI", "2026-02-27 2026-03-27 2026-05-01"),  # both
    ],
)
def test_day_of_month_and_day_of_week(line, days):
    at, result = utc("2026-01-01T00:00Z"), []
    for _ in days.split():
        at = times.after(line, "UTC", at)
        result.append(f"{at:%Y-%m-%d}")

    assert result == days.split()


def test_nicknames_in_any_case():
    assert times.parse("@Hourly").text == "0 * * * *"
    assert times.parse(" @annually ").text == "0 0 1 1 *"


def test_a_run_is_later_than_the_instant_by_fractions_of_a_second():
    noon = utc("2026-05-01T12:00:00Z")
    millisecond = timedelta(milliseconds=1)

    assert times.after("* * * * *", "UTC", noon - millisecond) == noon
    assert times.after("* * * * *", "UTC", noon) == noon + timedelta(minutes=1)
    assert times.after("0 12 * * *", "UTC", noon + millisecond) == noon + timedelta(days=1)


def test_intervals_are_counted_from_their_start():
    start = utc("2026-05-01T12:00:07Z")
    hour = timedelta(hours=1)

    assert times.next_after(start, 3600, start - hour) == start
    assert times.next_after(start, 3600, start) == start + hour
    assert times.next_after(start, 3600, start + hour - timedelta(microseconds=1)) == start + hour
    assert times.next_after(start, 3600, start + 1000 * hour) == start + 1001 * hour


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("* * * * * *", "has 6 fields; give five: minute hour day month weekday. For runs within a minute use everySeconds."),
        ("* *", "has 2 fields; give five: minute hour day month weekday."),
        ("", "has 0 fields; give five: minute hour day month weekday."),
        ("now", "has 1 field; give five: minute hour day month weekday."),
        ("61 * * * *", "the minute '61' is not understood; it is 0 to 59, *, */5, 1-5 or a list of those."),
        ("0 24 * * *", "the hour '24' is not understood; it is 0 to 23, *, */5, 1-5 or a list of those."),
        ("0 0 0 * *", "the day of the month '0' is not understood; it is 1 to 31, L (the last day), LW (the last weekday), *, */5, 1-5 or a list of those."),
        ("0 0 * M *", "the month 'M' is not understood; it is 1 to 12, JAN to DEC, *, */5, 1-5 or a list of those."),
        ("0 0 * * 8", "the weekday '8' is not understood; it is 0 to 7 (0 and 7 are Sunday), SUN to SAT, MON#2 (the second), 5L (the last Friday), *, */5, 1-5 or a list of those."),
        ("0 0 30 2 *", "never comes up: no month it names has a day 30."),
        ("0 0 31 2,4,11 *", "never comes up: no month it names has a day 31."),
        ("* * */20 * 1L", "does not come up in the next 50 years."),
        ("@reboot", "@reboot is not known; @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually are."),
    ],
)  # fmt: skip
def test_refused_lines(line, text):
    with pytest.raises(times.InvalidLine) as refusal:
        times.parse(line)

    assert str(refusal.value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Europe/Berln", "is not a time zone of the IANA database; did you mean Europe/Berlin?"),
        ("europe/berlin", "is not a time zone of the IANA database; did you mean Europe/Berlin?"),
        ("New York", "is not a time zone of the IANA database; did you mean America/New_York?"),
        ("CEST", "is not a time zone of the IANA database; offsets and abbreviations don't know when clocks change."),
        ("+02:00", "is not a time zone of the IANA database; offsets and abbreviations don't know when clocks change."),
        ("UTC+2", "is not a time zone of the IANA database; offsets and abbreviations don't know when clocks change."),
        ("../../etc/passwd", "is not a time zone of the IANA database; one is spelled like Europe/Berlin."),
        ("Factory", "is not a time zone of the IANA database; one is spelled like Europe/Berlin."),
        ("", "is not a time zone of the IANA database; one is spelled like Europe/Berlin."),
    ],
)  # fmt: skip
def test_refused_zones(name, text):
    with pytest.raises(zones.InvalidZone) as refusal:
        zones.get(name)

    assert str(refusal.value) == text


def test_the_zones_are_those_of_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr("zoneinfo.TZPATH", (str(tmp_path),))

    assert len(zones.names()) > 590
    assert all(zones.get(name).key == name for name in zones.names())
    assert zones.VERSION >= "2026f"
    # ZoneInfo's own cache would hold an object of the system's files.
    assert zones.get(BERLIN) is not ZoneInfo(BERLIN)


@pytest.mark.slow
def test_the_zones_of_the_system_are_not_read(tmp_path):
    """They say that Vancouver is in Tokyo."""
    tokyo = resources.files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    (tmp_path / "America").mkdir()
    (tmp_path / "America" / "Vancouver").write_bytes(tokyo)
    script = (
        "from datetime import datetime; from zoneinfo import ZoneInfo; from app.jobs.schedules import times\n"
        "at = datetime.fromisoformat('2026-11-02T00:00:00+00:00')\n"
        "print(at.astimezone(ZoneInfo('America/Vancouver')).hour,"
        " times.after('0 9 * * *', 'America/Vancouver', at).isoformat())"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        env={"PYTHONTZPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "9 2026-11-02T16:00:00+00:00\n"


# ---------------------------------------------------------------------------------------- properties

FIELD = st.text("0123456789*/-,LW#@ SUNMOJA", max_size=8)
VALID_HOURS = st.sampled_from(["*", "*/2", "2", "1-3", "0,12", "0-23", "2-3/2", "1-23/2"])
VALID_MINUTES = st.sampled_from(["*", "0", "30", "*/20", "15,45", "59"])
VALID_DAYS = st.sampled_from(["*", "*/7", "1", "25-31", "L", "LW"])
VALID_WEEKDAYS = st.sampled_from(["*", "SUN", "MON-FRI", "7", "5L", "SUN#1"])
LINES = st.builds(
    lambda *fields: " ".join(fields),
    VALID_MINUTES,
    VALID_HOURS,
    VALID_DAYS,
    st.sampled_from(["*", "3,4,10,11"]),
    VALID_WEEKDAYS,
)
INSTANTS = st.integers(0, 2 * 365 * 86_400_000).map(
    lambda ms: utc("2026-01-01T00:00Z") + timedelta(milliseconds=ms)
)
CHANGING = st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, "America/Santiago", "Africa/Casablanca"])


@given(st.lists(FIELD, min_size=4, max_size=6).map(" ".join) | st.text(max_size=12))
@settings(max_examples=500)
def test_any_text_is_parsed_or_refused(text):
    with contextlib.suppress(times.InvalidLine):
        assert times.parse(text).in_words()[0].isupper()
        assert times.after(text, "UTC", utc("2026-01-01T00:00Z"))


@given(LINES, CHANGING, INSTANTS)
@settings(max_examples=300, deadline=None)
def test_runs_increase_and_none_is_between(line, zone, instant):
    first = times.after(line, zone, instant)
    second = times.after(line, zone, first)

    assert instant < first < second
    assert times.after(line, zone, first - timedelta(seconds=1)) == first
    assert times.after(line, zone, instant + (first - instant) / 2) == first


@given(LINES, CHANGING, INSTANTS)
@settings(max_examples=300, deadline=None)
def test_a_run_shows_a_match_or_ends_a_gap(line, zone, instant):
    run = times.after(line, zone, instant)
    shown = times.wall(zones.get(zone), run)
    is_match = next(times.parse(line).matches(shown - timedelta(seconds=1))) == shown
    before = times.wall(zones.get(zone), run - timedelta(seconds=1))
    ends_a_gap = shown - before > timedelta(seconds=1)

    assert is_match or (ends_a_gap and times.parse(line).names_hours)


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, LORD_HOWE, "Africa/Cairo", "Asia/Kathmandu"])
def test_a_wall_time_runs_once_on_each_day_of_a_year(zone):
    runs = runs_between(zone, "30 2 * * *", utc("2026-01-01T12:00Z"), utc("2027-01-01T12:00Z"))

    assert len({times.local(zone, run).date() for run in runs}) == len(runs) == 365


# --------------------------------------------------------------------------- an enumeration to compare

#: Line → whether a wall time matches, and whether the line names its hours.
ENUMERATED = {
    "30 0,2 * * *": (lambda wall: wall.minute == 30 and wall.hour in (0, 2), True),
    "*/15 1-3 * * *": (lambda wall: wall.minute % 15 == 0 and 1 <= wall.hour <= 3, True),
    "0 */2 * * *": (lambda wall: wall.minute == 0 and wall.hour % 2 == 0, False),
}
MINUTE = timedelta(minutes=1)


def changes_of(zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """A time near each change of the clock, by looking every six hours."""
    step, near = timedelta(hours=6), []
    while start < end:
        if times.offset(zone, start) != times.offset(zone, start + step):
            near.append(start)
        start += step
    return near


def enumerate_runs(zone: ZoneInfo, line: str, start: datetime, end: datetime) -> list[datetime]:
    """The runs in (start, end] by looking at what the clock shows at each minute."""
    matches, names_hours = ENUMERATED[line]
    runs: list[datetime] = []
    shown_until = times.wall(zone, start - timedelta(hours=26, minutes=1))
    at = start - timedelta(hours=26)
    while at <= end:
        wall = times.wall(zone, at)
        if not names_hours:
            is_run = matches(wall)
        elif wall <= shown_until:
            is_run = False  # shown before
        else:
            # This minute, and those that the clock has skipped before it.
            skipped = (wall - shown_until) // MINUTE
            is_run = any(matches(wall - n * MINUTE) for n in range(skipped))
        if is_run and at > start:
            runs.append(at)
        shown_until = max(shown_until, wall)
        at += MINUTE
    return runs


def differences(names: list[str]) -> list[tuple[str, str, datetime]]:
    result = []
    for name in names:
        zone = zones.get(name)
        near = changes_of(zone, utc("2026-01-02T00:00Z"), utc("2027-12-30T00:00Z"))
        for change in near or [utc("2026-06-01T00:00Z")]:
            start, end = change - timedelta(hours=12), change + timedelta(hours=30)
            result += [
                (name, line, change)
                for line in ENUMERATED
                if runs_between(name, line, start, end) != enumerate_runs(zone, line, start, end)
            ]
    return result


def test_some_zones_agree_with_an_enumeration():
    assert differences([BERLIN, LORD_HOWE, "America/Santiago", "Africa/Casablanca"]) == []


@pytest.mark.long
@pytest.mark.timeout(600)
def test_all_zones_agree_with_an_enumeration():
    assert differences(list(zones.names())) == []
