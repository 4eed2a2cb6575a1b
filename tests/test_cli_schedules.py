"""``flask schedules``: what an operator types."""

from __future__ import annotations

import pytest

from app.jobs.schedules.listing import get_schedule
from tests import factories as make


@pytest.fixture
def flask(app, session):
    """Runs a command of schedules: ``flask("list") -> (exit code, output)``."""

    def run(*args: str) -> tuple[int, str]:
        result = app.test_cli_runner().invoke(args=["schedules", *args])
        return result.exit_code, result.output

    return run


def test_list(flask):
    make.schedule("nightly", type="echo")
    make.paused_schedule("weekly", every_seconds=604800)

    code, output = flask("list")

    lines = output.splitlines()
    assert (code, len(lines)) == (0, 2)
    assert lines[0].split()[:2] == ["nightly", "active"]
    assert lines[0].endswith("echo: At 02:30 every day, Europe/Berlin")
    assert lines[1].split()[:3] == ["weekly", "paused", "-"]
    assert lines[1].endswith("echo: Every 7 days")
    assert flask("list", "--state", "paused")[1].splitlines() == lines[1:]


def test_list_without_any(flask):
    assert flask("list") == (0, "There are no schedules.\n")
    assert flask("list", "--state", "late") == (0, "No schedule is late.\n")


def test_preview(flask):
    code, output = flask(
        "preview", "30 2 * * *", "Europe/Berlin", "--from", "2026-03-28", "--count", "3"
    )

    assert code == 0
    assert output.splitlines() == [
        "At 02:30 every day, Europe/Berlin",
        "2026-03-28 02:30:00 +0100  2026-03-28 01:30:00 UTC",
        "2026-03-29 03:00:00 +0200  2026-03-29 01:00:00 UTC  02:30 does not exist that day: the clock goes from 02:00 to 03:00",
        "2026-03-30 02:30:00 +0200  2026-03-30 00:30:00 UTC",
    ]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["61 * * * *"], "Error: cron: the minute '61' is not understood; it is 0 to 59, *, */5, 1-5 or a list of those.\n"),
        (["@daily", "Berlin"], "Error: zone: is not a time zone of the IANA database; did you mean Europe/Berlin?\n"),
    ],
)  # fmt: skip
def test_a_refused_preview(flask, args, text):
    assert flask("preview", *args) == (1, text)


def test_pause_and_resume(flask, session):
    make.schedule("nightly")

    assert flask("pause", "nightly") == (0, "Paused nightly.\n")
    assert get_schedule(session, "nightly").paused_by == "cli"
    code, output = flask("resume", "nightly")
    assert code == 0
    assert output.startswith("Resumed nightly. Next run: 20")
    assert get_schedule(session, "nightly").paused_at is None


def test_run(flask):
    make.schedule("nightly")

    code, output = flask("run", "nightly")
    assert (code, output.split()[:2]) == (0, ["Created", "job"])
    job_id = output.split()[2].rstrip(".")
    assert flask("run", "nightly") == (
        1,
        f"Error: Job {job_id} of schedule nightly is still pending; wait for it, cancel it, or send force.\n",
    )
    assert flask("run", "nightly", "--force")[0] == 0


@pytest.mark.parametrize("verb", ["run", "pause", "resume"])
def test_an_unknown_name(flask, verb):
    assert flask(verb, "unknown") == (1, "Error: No schedule is named 'unknown'.\n")
