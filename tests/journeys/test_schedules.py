"""Each tick gets one job, while processes die and freeze, Redis forgets, and releases change."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.journeys.conftest import QUICK, Api
from tests.support.processes import Program

pytestmark = [pytest.mark.journey, pytest.mark.timeout(90)]

SCHEDULED = {"JOB_MODULES": "tests.support.handlers,tests.support.scheduled"}
HISTORY = """
SELECT s.name, t.tick_at, t.outcome, t.n, t.job_id, t.made_at FROM schedule_ticks t JOIN schedules s ON s.id = t.schedule_id
ORDER BY s.name, t.tick_at
"""
SECOND = timedelta(seconds=1)


def every_second(api: Api, name: str, **fields: Any) -> None:
    body = {"type": "ledger", "payload": {"file": "/dev/null", "name": name}, "everySeconds": 1}
    put(api, name, {**body, **fields})


def put(api: Api, name: str, body: dict[str, Any]) -> None:
    answer = api._http.put(f"{api.url}/api/schedules/{name}", json=body, timeout=30)
    assert answer.status_code in (200, 201), answer.text


def overdue(sql: Any, name: str, *, by: float, every: int = 60, **columns: str) -> None:
    """A schedule as it is after an outage: its next tick was due ``by`` seconds ago."""
    extra = {"type": "'echo'", "payload": "'{}'", **columns}
    names, values = ", ".join(extra), ", ".join(extra.values())
    sql(
        f"INSERT INTO schedules (name, source, every_seconds, starts_at, next_run_at, {names})"
        f" VALUES ('{name}', 'api', {every}, now() - interval '1 day' - interval '{by} s',"
        f" now() - interval '{by} s', {values}) RETURNING id"
    )


def assert_each_tick_has_one_job(sql: Any) -> int:
    """The number of ticks; all were made, each with a job of its own, and none is missing in between."""
    rows = sql(HISTORY)
    assert {outcome for _, _, outcome, _, _, _ in rows} == {"enqueued"}, rows
    assert len({job_id for _, _, _, _, job_id, _ in rows}) == len(rows)
    by_schedules = "SELECT count(*) FROM jobs WHERE created_by LIKE 'schedule:%'"
    assert sql(by_schedules) == [(len(rows),)]
    for (name, at, *_), (following, next_at, *_) in pairwise(rows):
        if name == following:
            assert next_at - at == SECOND, (name, at, next_at)
    return len(rows)


def stop_all(sql: Any) -> None:
    sql("UPDATE schedules SET next_run_at = NULL RETURNING id")


def kill_and_flush(
    worker: Callable[..., Program], workers: list[Program], redis_url: str, turns: int,
    is_far: Callable[[int], Any], wait_until: Any,
) -> None:  # fmt: skip
    chance = random.Random(7)
    with Redis.from_url(redis_url) as client:
        for turn in range(turns):
            wait_until(lambda turn=turn: is_far(turn), timeout=30)
            victim = chance.randrange(len(workers))
            workers[victim].kill()
            client.flushdb()
            workers[victim] = worker()


def test_each_tick_gets_one_job_while_workers_die_and_redis_forgets(
    api: Api, worker: Any, wait_until: Any, sql: Any, redis_url: str, audit: Any
) -> None:
    workers = [worker(), worker()]
    for n in range(20):
        every_second(api, f"s{n}", overlap="allow")

    def is_far(turn: int) -> bool:
        return bool(sql("SELECT count(*) FROM schedule_ticks")[0][0] > 40 * (turn + 1))

    kill_and_flush(worker, workers, redis_url, 3, is_far, wait_until)
    wait_until(lambda: is_far(5))
    stop_all(sql)

    wait_until(lambda: api.unfinished() == 0, timeout=20)
    assert assert_each_tick_has_one_job(sql) > 240
    audit()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_three_minutes_of_kills_and_flushes_with_two_hundred_schedules(
    api: Api, worker: Any, wait_until: Any, sql: Any, redis_url: str, audit: Any
) -> None:
    workers = [worker() for _ in range(4)]
    for n in range(200):
        every_second(api, f"s{n}", overlap="allow")

    def is_far(turn: int) -> bool:
        [(seconds,)] = sql(
            "SELECT extract(epoch FROM max(tick_at) - min(tick_at)) FROM schedule_ticks"
        )
        return bool(seconds and seconds > 10 * turn)

    kill_and_flush(worker, workers, redis_url, 18, is_far, wait_until)
    stop_all(sql)

    wait_until(lambda: api.unfinished() == 0, timeout=60)
    assert assert_each_tick_has_one_job(sql) > 30_000
    audit()


def test_what_was_missed_is_made_up_for_by_policy(
    worker: Any, wait_until: Any, sql: Any, api: Api
) -> None:
    late = {"by": 570}  # ten ticks, the last one 30 s ago
    overdue(sql, "one", **late)
    overdue(sql, "all", **late, missed="'all'", overlap="'allow'")
    overdue(sql, "none", **late, missed="'none'")
    overdue(sql, "within", **late, missed="'all'", overlap="'allow'", missed_within_seconds="120")

    worker(SCHEDULE_GRACE_SECONDS="5")

    wait_until(lambda: sql("SELECT 1 FROM schedules HAVING min(next_run_at) > now()"))
    counts = {
        (name, outcome): total
        for name, outcome, total in sql(
            "SELECT s.name, outcome, sum(n)::int FROM schedule_ticks t JOIN schedules s ON s.id = schedule_id GROUP BY 1, 2"
        )
    }
    assert counts == {
        ("one", "enqueued"): 1, ("one", "missed"): 9,
        ("all", "enqueued"): 10,
        ("none", "missed"): 10,
        ("within", "enqueued"): 2, ("within", "missed"): 8,
    }  # fmt: skip
    jobs = dict(sql("SELECT split_part(created_by, ':', 2), count(*) FROM jobs GROUP BY 1"))
    assert jobs == {"one": 1, "all": 10, "within": 2}


def test_a_slow_run_makes_the_next_ticks_skip(
    api: Api, worker: Any, wait_until: Any, sql: Any, ledger: Any
) -> None:
    worker()
    until = str(ledger.path) + ".go"
    every_second(api, "slow", payload=ledger.payload("slow", until=until))

    wait_until(lambda: len(sql(HISTORY)) >= 4, timeout=20)
    first, *others = sql(HISTORY)
    assert first[2] == "enqueued"
    assert {(outcome, job_id) for _, _, outcome, _, job_id, _ in others} == {("skipped", first[4])}
    assert sql("SELECT count(*) FROM jobs") == [(1,)]

    Path(until).touch()
    wait_until(lambda: len(ledger.names("end")) >= 2)
    assert sql("SELECT count(*) FROM schedule_ticks WHERE outcome = 'enqueued'")[0][0] >= 2


def test_with_wait_runs_follow_each_other(
    api: Api, worker: Any, wait_until: Any, sql: Any, ledger: Any
) -> None:
    worker()
    worker()
    every_second(api, "waits", overlap="wait", payload=ledger.payload("run", seconds=2.2))

    wait_until(lambda: len(ledger.names("end")) >= 3, timeout=30)
    assert sql("SELECT 1 FROM schedule_ticks WHERE outcome = 'skipped'")
    stop_all(sql)
    wait_until(lambda: api.unfinished() == 0)
    events = [event for _, event, *_ in ledger.lines()]
    assert events == ["start", "end"] * (len(events) // 2)


def test_with_replace_the_newest_run_wins(
    api: Api, worker: Any, wait_until: Any, sql: Any, ledger: Any
) -> None:
    worker()
    until = str(ledger.path) + ".go"
    every_second(api, "replaced", overlap="replace", payload=ledger.payload("run", until=until))

    wait_until(lambda: len(ledger.names("start")) >= 2, timeout=30)
    stop_all(sql)
    Path(until).touch()
    wait_until(lambda: api.unfinished() == 0, timeout=20)
    *earlier, last = sql("SELECT status FROM jobs ORDER BY id")
    assert {status for (status,) in earlier} == {"cancelled"}
    assert last == ("completed",)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_minute_of_overlapping_runs(
    api: Api, worker: Any, wait_until: Any, sql: Any, ledger: Any
) -> None:
    worker()
    worker()
    every_second(api, "slow", payload=ledger.payload("slow", seconds=3.5))
    api.post("/api/queues/mail/pause", status=200)
    every_second(api, "waits", queue="mail")

    def live(name: str) -> int:
        [(count,)] = sql(
            f"SELECT count(*) FROM jobs WHERE created_by = 'schedule:{name}'"
            " AND status IN ('pending', 'processing')"
        )
        return int(count)

    def is_over() -> bool:
        seen.append(live("slow"))
        [(is_over,)] = sql(
            "SELECT max(tick_at) - min(tick_at) >= interval '60 s' FROM schedule_ticks"
        )
        return bool(is_over)

    seen: list[int] = []
    wait_until(is_over, timeout=90)

    assert max(seen) == 1
    created = sql("SELECT count(*) FROM jobs WHERE created_by = 'schedule:slow'")[0][0]
    assert 14 <= created <= 16
    assert live("waits") == 1


def test_two_releases_beside_each_other_double_nothing(
    api: Api, worker: Any, wait_until: Any, sql: Any
) -> None:
    old = worker()
    workers = [worker(**SCHEDULED), worker(**SCHEDULED)]
    wait_until(lambda: len(sql(HISTORY)) >= 3, timeout=20)
    old.stop()
    # Back to the old release: the schedule goes on while a worker declares it.
    worker()
    workers.pop().stop()
    count = len(sql(HISTORY))
    wait_until(lambda: len(sql(HISTORY)) >= count + 2)

    stop_all(sql)
    wait_until(lambda: api.unfinished() == 0)
    assert_each_tick_has_one_job(sql)
    assert sql("SELECT source, retired_at FROM schedules") == [("code", None)]


def test_a_pause_survives_deploys(api: Api, worker: Any, wait_until: Any, sql: Any) -> None:
    program = worker(**SCHEDULED)
    wait_until(lambda: sql(HISTORY))
    api.post("/api/schedules/of-the-code/pause", status=200)
    paused = sql("SELECT paused_at FROM schedules")
    for _ in range(3):
        replacement = worker(**SCHEDULED)
        program.stop()
        program = replacement
    assert sql("SELECT paused_at FROM schedules") == paused
    count = len(sql(HISTORY))

    api.post("/api/schedules/of-the-code/resume", status=200)
    wait_until(lambda: len(sql(HISTORY)) >= count + 2)
    assert sql("SELECT count(*) FROM schedule_ticks WHERE outcome = 'paused'") == [(1,)]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_schedule_that_the_new_release_lacks_is_retired_and_comes_back(
    api: Api, worker: Any, wait_until: Any, sql: Any
) -> None:
    new = worker()
    old = worker(**SCHEDULED)
    wait_until(lambda: sql(HISTORY))
    old.stop()
    is_retired = "SELECT 1 FROM schedules WHERE retired_at IS NOT NULL"
    wait_until(lambda: sql(is_retired), timeout=90)
    left = sql("SELECT retired_at - (SELECT max(stopped_at) FROM workers) FROM schedules")[0][0]
    assert timedelta(seconds=60) <= left <= timedelta(seconds=90)
    count = len(sql(HISTORY))

    worker(**SCHEDULED)
    new.stop()
    wait_until(lambda: len(sql(HISTORY)) >= count + 2)
    assert sql(is_retired) == []


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_worker_that_freezes_in_the_middle_delays_only_its_batch(
    worker: Any, wait_until: Any, sql: Any, api: Api, tmp_path: Path
) -> None:
    workers = [worker(**SCHEDULED), worker(**SCHEDULED)]
    sql("UPDATE schedules SET next_run_at = NULL RETURNING id")
    payload = json.dumps({"file": str(tmp_path / "frozen")})
    sql(
        "INSERT INTO schedules (name, source, type, payload, every_seconds, starts_at, next_run_at)"
        f" SELECT 's' || n, 'api', CASE n WHEN 1 THEN 'freezing' ELSE 'echo' END, '{payload}', 3600,"
        " now() - interval '1 day', date_trunc('second', now()) + interval '2 s' FROM generate_series(1, 230) AS n"
        " RETURNING id"
    )
    with_tick = "SELECT count(*) FROM schedule_ticks t JOIN schedules s ON s.id = t.schedule_id WHERE s.source = 'api'"

    wait_until((tmp_path / "frozen").exists, timeout=20)
    wait_until(lambda: sql(with_tick) == [(30,)])
    wait_until(lambda: sql(with_tick) == [(230,)], timeout=30)
    rest, frozen = sql(
        "SELECT max(extract(epoch FROM made_at - tick_at)) FILTER (WHERE n <= 30)::float8,"
        " max(extract(epoch FROM made_at - tick_at))::float8"
        " FROM (SELECT made_at, tick_at, row_number() OVER (ORDER BY made_at) AS n FROM schedule_ticks t"
        " JOIN schedules s ON s.id = t.schedule_id WHERE s.source = 'api') AS t"
    )[0]
    print(f"the rest after {rest:.2f} s, the frozen ones after {frozen:.2f} s")
    for program in workers:
        program.send(signal.SIGCONT)

    wait_until(lambda: api.unfinished() == 0, timeout=30)
    assert sql("SELECT count(*) FROM jobs WHERE created_by LIKE 'schedule:s%'") == [(230,)]
    assert sql(with_tick) == [(230,)]


def test_ticks_go_on_while_redis_is_away(
    private: Any, web: Any, consumer: Any, wait_until: Any
) -> None:
    api = Api(web(base=private.env(), **QUICK).url)
    consumer(base=private.env(), **QUICK)
    every_second(api, "s", overlap="allow")

    def count() -> int:
        return len(api.get("/api/schedules/s/ticks?limit=100"))

    wait_until(lambda: count() >= 2, timeout=20)
    private.stop_redis()
    before = count()
    wait_until(lambda: count() >= before + 3, timeout=20)
    private.start_redis()
    api.post("/api/schedules/s/pause", status=200)

    wait_until(lambda: api.unfinished() == 0, timeout=20)
    ticks = api.get("/api/schedules/s/ticks?limit=100")
    enqueued = [tick for tick in ticks if tick["outcome"] == "enqueued"]
    assert len({tick["jobId"] for tick in enqueued}) == len(enqueued) >= before + 3


def test_a_leader_that_freezes_delays_no_tick_for_long(
    api: Api, worker: Any, wait_until: Any, sql: Any
) -> None:
    """Not by the time until another worker leads, which is several rounds."""
    workers = [worker(SWEEP_SECONDS="10", LEASE_SECONDS="600") for _ in range(2)]
    every_second(api, "s", overlap="allow")
    wait_until(lambda: len(sql(HISTORY)) >= 2, timeout=20)
    for program in workers:
        count = len(sql(HISTORY))
        program.send(signal.SIGSTOP)
        wait_until(lambda count=count: len(sql(HISTORY)) >= count + 3)
        program.send(signal.SIGCONT)
    stop_all(sql)
    wait_until(lambda: api.unfinished() == 0, timeout=20)
    assert_each_tick_has_one_job(sql)
    [(lag,)] = sql("SELECT max(made_at - tick_at) FROM schedule_ticks")
    print(f"longest lag {lag}")
