"""``python -m benchmarks.chaos --minutes 3 --seed 1``: faults at random, then an audit of every accepted job.

A private PostgreSQL and Redis, the Procfile's web and workers, a mixed load by HTTP, and a ledger:
every id that was accepted, and every start and end of a handler, in files that no fault of ours can
touch. The seed gives the sequence of faults. After the last one the system gets a minute to come to
rest without a hand; then ledger, database, Redis and counters must agree.

Everything listens on loopback; only processes started here are signalled. Exits with 0 when nothing was
lost, stuck, doubly held or miscounted, else with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import requests
from redis import Redis

from app.dev import postgres, redis_server
from app.dev.home import Home
from app.dev.instance import free_port, fresh_instance
from app.dev.process import kill_group, spawn, stop
from app.dev.supervisor import procfile
from benchmarks import programs

ROOT = programs.ROOT
LEASE_SECONDS = 4.0
#: Everything must be over so long after the last fault, without a hand.
REST_SECONDS = 60.0
QUICK = {
    "LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "HEARTBEAT_SECONDS": "1",
    "SWEEP_SECONDS": "0.5",
    "BACKOFF_BASE": "0.3",
    "JOB_MODULES": "benchmarks.chaos_jobs",
    "LOG_LEVEL": "INFO",
    "APP_ENV": "test",
    "WEB_CONCURRENCY": "2",
}


class Program:
    """A program of the Procfile that is started again whenever it is gone."""

    def __init__(self, name: str, number: int, env: dict[str, str], folder: Path) -> None:
        self.name = f"{name}-{number}"
        self.log = folder / f"{self.name}.log"
        self._command = procfile(ROOT / "Procfile")[name]
        self._env = env
        self.starts = 0
        self.process: Any = None
        self.start()

    def start(self) -> None:
        self.starts += 1
        with open(self.log, "ab") as output:
            self.process = spawn(
                ["/bin/sh", "-c", f"exec {self._command}"],
                death_signal=signal.SIGKILL,
                env=self._env,
                cwd=ROOT,
                output=output,
            )

    def kill(self) -> None:
        kill_group(self.process.pid)
        self.process.wait()

    def restart(self, number: signal.Signals, grace_seconds: float = 30) -> None:
        """As a platform does on a deploy."""
        stop(self.process, polite=number, grace_seconds=grace_seconds)
        self.start()

    def revive(self) -> None:
        """Start it if it ended by itself."""
        if self.process.poll() is not None:
            self.start()


class System:
    """Services and programs, and the handles by which the faults take them."""

    def __init__(self, instance: Any, folder: Path, stack: ExitStack) -> None:
        self._instance = instance
        self.folder = folder
        self.crashed_at: list[float] = []  # when PostgreSQL did
        self.start_postgres()
        self.start_redis()
        stack.callback(lambda: postgres.end(self.postgres))
        stack.callback(lambda: redis_server.end(self.redis))
        self.database_url = instance.state.database_url
        self.redis_url = instance.state.redis_url
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        path = f"{programs.BIN}:{os.environ['PATH']}"
        self.env = {
            **os.environ, **QUICK, "PATH": path, "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url, "HOST": "127.0.0.1", "PORT": str(port),
            "CHAOS_LEDGER": str(folder / "handlers.ledger"),
        }  # fmt: skip
        os.environ.update({"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url})
        programs.migrate()
        self.web = Program("web", 1, self.env, folder)
        self.workers = [Program("worker", n, self.env, folder) for n in (1, 2)]
        for program in (self.web, *self.workers):
            stack.callback(program.kill)
        self.is_over = threading.Event()
        stack.callback(self.is_over.set)
        # A platform starts what ended by itself; a fault that has a program down holds this lock.
        self.hands_off = threading.Lock()
        threading.Thread(target=self._revive_for_ever, daemon=True).start()

    def start_postgres(self) -> None:
        self.postgres = postgres.start(self._instance)

    def start_redis(self) -> None:
        self.redis = redis_server.start(self._instance)

    def _revive_for_ever(self) -> None:
        while not self.is_over.wait(0.5):
            with self.hands_off:
                for program in (self.web, *self.workers):
                    program.revive()

    def sql(self, statement: str) -> list[Any]:
        connection = psycopg2.connect(self.database_url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def redis_client(self) -> Redis:
        return Redis.from_url(self.redis_url, socket_timeout=5)


# ---------------------------------------------------------------------------------- faults

Fault = Callable[[System, random.Random], None]
FAULTS: dict[str, Fault] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    def register(run: Fault) -> Fault:
        FAULTS[name] = run
        return run

    return register


@fault("kill -9 of a worker")
def _kill_worker(system: System, chance: random.Random) -> None:
    one = chance.choice(system.workers)
    one.kill()
    time.sleep(chance.uniform(0, 2))
    one.start()


@fault("kill -9 of both workers")
def _kill_both(system: System, chance: random.Random) -> None:
    for one in system.workers:
        one.kill()
    time.sleep(chance.uniform(0, 2))
    for one in system.workers:
        one.start()


@fault("kill -9 of the web")
def _kill_web(system: System, chance: random.Random) -> None:
    system.web.kill()
    system.web.start()


@fault("rolling restart by SIGTERM")
def _roll(system: System, chance: random.Random) -> None:
    for one in system.workers:
        one.restart(signal.SIGTERM)


@fault("SIGSTOP for longer than the lease")
def _freeze(system: System, chance: random.Random) -> None:
    one = chance.choice(system.workers)
    os.kill(one.process.pid, signal.SIGSTOP)
    time.sleep(LEASE_SECONDS * chance.uniform(1.3, 2))
    os.kill(one.process.pid, signal.SIGCONT)


@fault("FLUSHALL")
def _flush(system: System, chance: random.Random) -> None:
    with system.redis_client() as client:
        client.flushall()


@fault("Redis away for some seconds, empty when back")
def _redis_away(system: System, chance: random.Random) -> None:
    redis_server.end(system.redis)
    time.sleep(chance.uniform(0.5, 8))
    system.start_redis()


@fault("Redis full")
def _redis_full(system: System, chance: random.Random) -> None:
    with system.redis_client() as client:
        client.config_set("maxmemory", 1)
        time.sleep(chance.uniform(1, 5))
        client.config_set("maxmemory", 0)


@fault("PostgreSQL crashes and recovers")
def _crash_postgres(system: System, chance: random.Random) -> None:
    system.crashed_at.append(time.time())
    stop(system.postgres, polite=signal.SIGQUIT, grace_seconds=20)
    system.start_postgres()


@fault("PostgreSQL away for some seconds")
def _postgres_away(system: System, chance: random.Random) -> None:
    postgres.end(system.postgres)
    time.sleep(chance.uniform(1, 8))
    system.start_postgres()


@fault("every connection to PostgreSQL is ended")
def _terminate(system: System, chance: random.Random) -> None:
    system.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobqueue'"
    )


@fault("no connection left in PostgreSQL")
def _exhaust(system: System, chance: random.Random) -> None:
    held = []
    with suppress(psycopg2.OperationalError):
        for _ in range(200):
            held.append(psycopg2.connect(system.database_url))
    time.sleep(chance.uniform(1, 4))
    for one in held:
        one.close()


@fault("the same ids published 1,000 times")
def _republish(system: System, chance: random.Random) -> None:
    ids = system.sql("SELECT id, queue FROM jobs ORDER BY id DESC LIMIT 50")
    with system.redis_client() as client:
        for _ in range(20):
            for job_id, queue in ids:
                client.zadd("{jobs}:ready:" + queue, {job_id.replace("-", ""): 0})


# ------------------------------------------------------------------------------------ load


@dataclass
class Load:
    """Posts jobs until told to stop and writes down what was accepted."""

    system: System
    chance: random.Random
    accepted: dict[str, str] = field(default_factory=dict)  # id → kind
    refused: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    KINDS = (
        ("quick", 680), ("slow", 50), ("flaky", 100), ("hopeless", 40), ("later", 80), ("apart", 10),
        ("deadly", 1), ("leaky", 30), ("odd", 30),
    )  # fmt: skip

    def run(self) -> None:
        http = requests.Session()
        number = 0
        while not self._stop.is_set():
            specs = [self._spec(number + n) for n in range(self.chance.choice((1, 1, 1, 1, 25)))]
            number += len(specs)
            self._post(http, specs)
            time.sleep(self.chance.expovariate(8))

    def stop(self) -> None:
        self._stop.set()

    def _spec(self, number: int) -> tuple[str, dict[str, Any]]:
        names, weights = zip(*self.KINDS, strict=True)
        [kind] = self.chance.choices(names, weights)
        spec: dict[str, Any] = {
            "type": "chaos-apart" if kind == "apart" else "chaos",
            "payload": {"kind": kind, "number": number, "times": self.chance.randint(1, 3)},
            "queue": self.chance.choice(("default", "default", "mail", "reports")),
            "priority": self.chance.choice((0, 0, 0, 10, -10)),
        }
        if kind == "later":
            spec["delay"] = self.chance.randint(1, 20)
        return kind, spec

    def _post(self, http: requests.Session, specs: list[tuple[str, dict[str, Any]]]) -> None:
        bodies = [spec for _, spec in specs]
        started = time.monotonic()
        try:
            if len(bodies) == 1:
                answer = http.post(f"{self.system.url}/api/jobs", json=bodies[0], timeout=20)
            else:
                answer = http.post(f"{self.system.url}/api/jobs/bulk", json={"jobs": bodies}, timeout=20)  # fmt: skip
        except requests.RequestException as error:
            # Nobody knows whether it was stored: neither is a loss.
            self.refused[type(error).__name__] += 1
            time.sleep(0.1)
            return
        if answer.status_code == 201:
            self.slowest_ms = max(self.slowest_ms, 1000 * (time.monotonic() - started))
            found = answer.json()
            ids = [found["id"]] if len(bodies) == 1 else found["ids"]
            for job_id, (kind, _) in zip(ids, specs, strict=True):
                self.accepted[job_id] = kind
        else:
            self.refused[f"{answer.status_code} {answer.json().get('code')}"] += 1
            time.sleep(0.1)


# ----------------------------------------------------------------------------------- audit


@dataclass(frozen=True)
class Verdict:
    """What the audit says, each item a count and some examples."""

    lost: list[str]
    stuck: list[str]
    doubly_held: list[str]
    wrong_ends: list[str]
    miscounted: list[str]
    wrong_answers: list[str]

    @property
    def is_good(self) -> bool:
        return not any(self.__dict__.values())

    def lines(self) -> Iterator[str]:
        for name, found in self.__dict__.items():
            yield f"{name.replace('_', ' '):<14} {len(found)}" + "".join(f"\n    {one}" for one in found[:10])  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One event of a handler."""

    at: float
    job_id: str
    event: str
    attempt: int
    pid: int


def read_ledger(path: Path) -> list[Line]:
    """Lines that were written whole; a killed process may leave half a one."""
    lines = []
    for raw in path.read_text(errors="replace").splitlines() if path.exists() else []:
        with suppress(ValueError):
            at, job_id, event, attempt, pid = raw.split()
            lines.append(Line(float(at), job_id, event, int(attempt), int(pid)))
    return lines


def audit(system: System, load: Load) -> Verdict:
    """The ledger against database, Redis and counters. The system is at rest."""
    rows = {str(i): s for i, s in system.sql("SELECT id, status FROM jobs")}
    final = {"completed", "failed", "cancelled"}
    lost = [f"{i} ({kind})" for i, kind in load.accepted.items() if i not in rows]
    stuck = [f"{i} is {status}" for i, status in rows.items() if status not in final]
    expected = {"hopeless": {"failed"}, "deadly": {"failed"}}
    # Three workers killed under one job bury it, whoever killed them: that is what crashes mean.
    crashed = {
        str(i)
        for (i,) in system.sql(
            "SELECT job_id FROM dead_letters WHERE reason LIKE 'crashed its worker%'"
        )
    }
    errors = {str(i): e or "" for i, e in system.sql("SELECT id, last_error FROM jobs")}
    wrong_ends = [
        f"{i} ({kind}) ended {rows[i]}: {errors[i]}"
        for i, kind in load.accepted.items()
        if i in rows
        and rows[i] in final
        and rows[i] not in expected.get(kind, {"completed"})
        and not (rows[i] == "failed" and i in crashed)
        # It asks PostgreSQL itself, whose fault may outlast its five attempts.
        and not (kind == "leaky" and rows[i] == "failed" and "OperationalError" in errors[i])
    ]
    ledger = read_ledger(system.folder / "handlers.ledger")
    ended = {line.job_id for line in ledger if line.event == "end"}
    wrong_ends += [
        f"{i} is completed, but no handler of it ever ended"
        for i, status in rows.items()
        if status == "completed" and i not in ended
    ]
    return Verdict(
        lost,
        stuck,
        _doubly_held(system, ledger),
        wrong_ends,
        _miscounted(system),
        _wrong_answers(system, load),
    )


def _wrong_answers(system: System, load: Load) -> list[str]:
    """Refusals that no fault explains, each with where the web logged it: a fault is a 503 or a lost connection."""
    log = system.web.log.read_text(errors="replace")
    return [
        f"{count} × {answer}\n{log[log.find('Traceback (most recent') :][:4000]}"
        for answer, count in load.refused.items()
        if answer[0].isdigit() and not answer.startswith("503 ")
    ]


def _doubly_held(system: System, ledger: list[Line]) -> list[str]:
    """Attempts that no lease stands behind, and outcomes written twice.

    Handlers may overlap in time when a frozen worker wakes (at least once); but each start must have had a
    lease of its own, and each lease ends in one row of job_attempts or in the completion. A crash of
    PostgreSQL may forget a claim of the last moments, which commit asynchronously: those may start twice.
    """
    found = [
        f"{i}: two letters open"
        for (i,) in system.sql(
            "SELECT job_id FROM dead_letters WHERE closed_at IS NULL GROUP BY 1 HAVING count(*) > 1"
        )
    ]
    ends = {
        str(i): n
        for i, n in system.sql(
            "SELECT j.id, (j.status = 'completed')::int + count(a.job_id) FROM jobs j"
            " LEFT JOIN job_attempts a ON a.job_id = j.id GROUP BY j.id"
        )
    }
    starts: dict[str, list[float]] = {}
    for line in ledger:
        if line.event == "start":
            starts.setdefault(line.job_id, []).append(line.at)
    for job_id, times in starts.items():
        # Claimed just before the crash, a job may start out of the inbox some moments after it.
        forgotten = sum(any(-5 < c - at < 2 for c in system.crashed_at) for at in times)
        if len(times) - forgotten > ends.get(job_id, 0):
            near = [f"{min((at - c for c in system.crashed_at), key=abs, default=0):.2f}" for at in times]  # fmt: skip
            found.append(
                f"{job_id}: {len(times)} starts ({', '.join(near)} s from a crash of PostgreSQL),"
                f" {ends.get(job_id, 0)} leases ended"
            )
    completed = system.sql("SELECT count(*) FROM jobs WHERE status = 'completed'")[0][0]
    counted = system.sql(
        "SELECT coalesce(sum(n), 0)::bigint FROM (SELECT outcome, n FROM job_series UNION ALL"
        " SELECT outcome, n FROM job_series_deltas) AS s WHERE outcome = 'completed'"
    )[0][0]
    if completed != counted:
        found.append(f"{completed} jobs are completed, {counted} completions were written")
    return found


def _miscounted(system: System) -> list[str]:
    told = []
    counted = dict(
        system.sql(
            "SELECT status, sum(n)::bigint FROM (SELECT status, n FROM job_counters UNION ALL"
            " SELECT status, n FROM job_counter_deltas) AS c GROUP BY 1 HAVING sum(n) <> 0"
        )
    )
    actual = dict(system.sql("SELECT status, count(*) FROM jobs GROUP BY 1"))
    if counted != actual:
        told.append(f"counters say {counted}, the table {actual}")
    letters = {str(i) for (i,) in system.sql("SELECT job_id FROM dead_letters WHERE closed_at IS NULL")}  # fmt: skip
    failed = {str(i) for (i,) in system.sql("SELECT id FROM jobs WHERE status = 'failed'")}
    if letters != failed:
        told.append(f"{len(failed)} jobs failed, {len(letters)} dead letters are open")
    with system.redis_client() as client:
        listed: Any = client.lrange("job-dlq", 0, -1)
    mirrored = [json.loads(entry)["jobId"] for entry in listed]
    if sorted(mirrored) != sorted(letters):
        told.append(f"job-dlq holds {len(mirrored)}, {len(letters)} dead letters are open")
    return told


# ------------------------------------------------------------------------------------- run


@contextmanager
def system() -> Iterator[System]:
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as name,
        fresh_instance(Home(ROOT / "var")) as instance,
        ExitStack() as stack,
    ):
        yield System(instance, Path(name), stack)


def run(minutes: float, seed: int, only: str | None = None) -> int:
    chance = random.Random(seed)
    names = [name for name in FAULTS if only is None or only in name]
    if not names:
        sys.exit(f"No fault is called {only!r}; there are: {', '.join(FAULTS)}.")
    with system() as one:
        _until_answers(one)
        load = Load(one, random.Random(seed + 1))
        thread = threading.Thread(target=load.run, daemon=True)
        thread.start()
        start = time.monotonic()
        happened: Counter[str] = Counter()
        while time.monotonic() - start < minutes * 60:
            time.sleep(chance.uniform(1, 6))
            name = chance.choice(names)
            print(f"{time.monotonic() - start:7.1f} s  {name}", flush=True)
            with one.hands_off:
                FAULTS[name](one, chance)
            happened[name] += 1
        load.stop()
        thread.join(30)
        rested = _rest(one)
        verdict = audit(one, load)
        _tell(one, load, happened, rested, verdict)
        return 0 if verdict.is_good else 1


def _until_answers(one: System) -> None:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        with suppress(requests.RequestException):
            if requests.get(f"{one.url}/health", timeout=2).ok:
                return
        time.sleep(0.1)
    raise SystemExit(f"The web did not start:\n{one.web.log.read_text()[-2000:]}")


def _rest(one: System) -> float | None:
    """Seconds until nothing was left to do, or None when that took longer than allowed."""
    started = time.monotonic()
    todo = (
        "SELECT (SELECT count(*) FROM jobs WHERE status IN ('pending', 'processing'))"
        " + (SELECT count(*) FROM dead_letter_changes)"
    )
    while time.monotonic() - started < REST_SECONDS:
        if one.sql(todo)[0][0] == 0:
            return time.monotonic() - started
        time.sleep(0.2)
    return None


def _tell(
    one: System, load: Load, happened: Counter[str], rested: float | None, verdict: Verdict
) -> None:
    ledger = read_ledger(one.folder / "handlers.ledger")
    starts = Counter(line.job_id for line in ledger if line.event == "start")
    crashed = one.sql("SELECT count(*) FROM job_attempts WHERE outcome = 'crashed'")[0][0]
    logs = "".join(program.log.read_text(errors="replace") for program in one.workers)
    print(f"\nfaults         {sum(happened.values())}")
    for name, count in happened.most_common():
        print(f"    {count:3} {name}")
    print(f"accepted       {len(load.accepted)}, slowest answer {load.slowest_ms:.0f} ms")
    print(f"not accepted   {dict(load.refused)}")
    print(f"statuses       {dict(one.sql('SELECT status, count(*) FROM jobs GROUP BY 1'))}")
    print(f"handler starts {sum(starts.values())}, {sum(1 for n in starts.values() if n > 1)} jobs more than once")  # fmt: skip
    print(f"rescued        {crashed} attempts; refused outcomes {logs.count('lease is no longer ours')}")  # fmt: skip
    buried = one.sql("SELECT count(*) FROM dead_letters WHERE reason LIKE 'crashed its worker%'")[0][0]  # fmt: skip
    print(f"buried         {buried} jobs after three crashes, {sum(1 for kind in load.accepted.values() if kind == 'deadly')} were deadly")  # fmt: skip
    print(f"at rest        {'not within' if rested is None else f'{rested:.1f} s of'} {REST_SECONDS:g} s after the last fault")  # fmt: skip
    print(f"thread deaths  {logs.count('A worker thread had died')}, tracebacks {logs.count('Traceback (most recent')}")  # fmt: skip
    for line in verdict.lines():
        print(line)
    print("verdict        " + ("nothing lost, nothing stuck" if verdict.is_good else "BROKEN"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="only faults with this in their name")
    arguments = parser.parse_args()
    sys.exit(run(arguments.minutes, arguments.seed, arguments.only))


if __name__ == "__main__":
    main()
