"""The benchmarks run: each with counts so small that its figure means nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.__main__ import MEASUREMENTS
from tests.support.services import ROOT, PrivateServices

pytestmark = [pytest.mark.journey, pytest.mark.timeout(240)]

SMALL = """
import benchmarks.drain as drain, benchmarks.service as service, benchmarks.programs as programs
import benchmarks.idle as idle, benchmarks.live as live, benchmarks.overload as overload
programs.migrate()
assert drain.ours(300) > 0
assert drain.plain_huey(300) > 0
found = service.latency(seconds=1)
assert 0 < found["p50"] <= found["p99"], found
assert service.bulk(100, 200) > 0
assert service.single(1, 4)["per second"] > 0
assert live.post_and_run(1, 4)["jobs/s"] > 0
assert live.post_only(1, 4)["errors"] == 0
overload.SECONDS, overload.SLOW_BODIES, overload.SILENT, overload.LARGE_JOBS, overload.SMALL_JOBS = 1.0, 2, 10, 2, 10
quiet, overloaded = overload.turns(1)
assert all(one.health and one.posts and not one.unanswered for one in quiet + overloaded)
assert len(overload.fronts(1, 1)) == 4
assert [jobs for jobs, mib in service.memory(2, 200) if mib > 10] == [0, 200, 400]
idle.SETTLE_SECONDS = 0.0
with idle.workers(2) as processes:
    assert idle.traffic(processes, 1)["Redis commands"] > 0
    assert idle.lateness(3, 0.3)["max"] > 0
    assert idle.memory(processes) > 10
import benchmarks.schedules as schedules
assert schedules.lag(3, 4)["started p50"] > 0
assert schedules.burst(30)["jobs"] == 30
assert schedules.at_rest(5, 1)["transactions"] >= 0
"""

UNIT = """
import benchmarks.programs as programs, benchmarks.unit as unit
programs.migrate()
for figures, parts in (
    (unit.post(1, 4), ["web"]), (unit.post_and_run(1, 4), ["web", "worker"]), (unit.bulk(2, 100), ["web"]),
    (unit.drain(300), ["worker"]),
):
    assert {"PostgreSQL", "Redis", "rate", "wal_bytes", "dead_rows", *parts} <= set(figures), figures
    assert all(figures[part] >= 0 for part in figures), figures
    assert 0 < figures["wal_bytes"] < 100_000 and figures["transactions"] > 0, figures
"""


@pytest.mark.long
@pytest.mark.parametrize("script", [SMALL, UNIT], ids=["rates", "unit"])
def test_each_gives_a_figure(private: PrivateServices, script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=private.env(),
        capture_output=True,
        text=True,
        timeout=220,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_unknown_name_is_refused_with_the_known_ones(test_env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "speed"],
        cwd=ROOT,
        env=test_env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"Unknown: speed; there are {', '.join(MEASUREMENTS)}." in done.stderr
