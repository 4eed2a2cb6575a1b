"""Ledger, database, Redis and counters must agree on every job that was accepted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos import limits, schedules
from benchmarks.chaos.load import Load
from benchmarks.chaos.system import System

#: Nothing may be left to do this long after the last fault, without help.
REST_SECONDS = 60.0


@dataclass(frozen=True)
class Verdict:
    """What the audit says, each item a count and some examples."""

    lost: list[str]
    stuck: list[str]
    doubly_held: list[str]
    wrong_ends: list[str]
    miscounted: list[str]
    wrong_answers: list[str]
    wrong_ticks: list[str]
    over_limits: list[str]

    @property
    def is_good(self) -> bool:
        return not any(self.__dict__.values())

    def lines(self) -> Iterator[str]:
        for name, items in self.__dict__.items():
            yield f"{name.replace('_', ' '):<14} {len(items)}" + "".join(f"\n    {item}" for item in items[:10])  # fmt: skip


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


def audit(system: System, load: Load, sampler: limits.Sampler) -> Verdict:
    """The ledger against database, Redis and counters. The system is at rest."""
    rows = {str(i): s for i, s in system.sql("SELECT id, status FROM jobs")}
    final = {"completed", "failed", "cancelled"}
    lost = [f"{i} ({kind})" for i, kind in load.accepted.items() if i not in rows]
    stuck = [f"{i} is {status}" for i, status in rows.items() if status not in final]
    expected = {"hopeless": {"failed"}, "deadly": {"failed"}}
    # A job fails after three workers died while running it, whatever killed them.
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
        # Its handler uses PostgreSQL, and a fault may outlast its five attempts.
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
        list(schedules.problems(system)),
        list(sampler.problems()),
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
    """Attempts without a lease, and outcomes written twice.

    Handlers may overlap in time when a frozen worker wakes (at least once); but each start must have had a
    lease of its own, and each lease ends in one row of job_attempts or in the completion. A crash of
    PostgreSQL may forget a claim of the last moments, which commit asynchronously: those may start twice.
    """
    problems = [
        f"{i}: two dead letters open"
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
        # Claimed just before the crash, a job may start from the inbox some moments after it.
        forgotten = sum(any(-5 < c - at < 2 for c in system.crashed_at) for at in times)
        if len(times) - forgotten > ends.get(job_id, 0):
            near = [f"{min((at - c for c in system.crashed_at), key=abs, default=0):.2f}" for at in times]  # fmt: skip
            problems.append(
                f"{job_id}: {len(times)} starts ({', '.join(near)} s from a crash of PostgreSQL),"
                f" {ends.get(job_id, 0)} leases ended"
            )
    completed = system.sql("SELECT count(*) FROM jobs WHERE status = 'completed'")[0][0]
    counted = system.sql(
        "SELECT coalesce(sum(n), 0)::bigint FROM (SELECT outcome, n FROM job_series UNION ALL"
        " SELECT outcome, n FROM job_series_deltas) AS s WHERE outcome = 'completed'"
    )[0][0]
    if completed != counted:
        problems.append(f"{completed} jobs are completed, {counted} completions were written")
    return problems


def _miscounted(system: System) -> list[str]:
    problems = []
    counted = dict(
        system.sql(
            "SELECT status, sum(n)::bigint FROM (SELECT status, n FROM job_counters UNION ALL"
            " SELECT status, n FROM job_counter_deltas) AS c GROUP BY 1 HAVING sum(n) <> 0"
        )
    )
    actual = dict(system.sql("SELECT status, count(*) FROM jobs GROUP BY 1"))
    if counted != actual:
        problems.append(f"counters say {counted}, the table {actual}")
    dead_letters = {str(i) for (i,) in system.sql("SELECT job_id FROM dead_letters WHERE closed_at IS NULL")}  # fmt: skip
    failed = {str(i) for (i,) in system.sql("SELECT id FROM jobs WHERE status = 'failed'")}
    if dead_letters != failed:
        problems.append(f"{len(failed)} jobs failed, {len(dead_letters)} dead letters are open")
    with system.redis_client() as client:
        listed: Any = client.lrange("job-dlq", 0, -1)
    mirrored = [json.loads(entry)["jobId"] for entry in listed]
    if sorted(mirrored) != sorted(dead_letters):
        problems.append(f"job-dlq holds {len(mirrored)}, {len(dead_letters)} dead letters are open")
    return problems


def report(
    system: System, load: Load, happened: Counter[str], rested: float | None, verdict: Verdict
) -> None:
    ledger = read_ledger(system.folder / "handlers.ledger")
    starts = Counter(line.job_id for line in ledger if line.event == "start")
    crashed = system.sql("SELECT count(*) FROM job_attempts WHERE outcome = 'crashed'")[0][0]
    logs = "".join(program.log.read_text(errors="replace") for program in system.workers)
    print(f"\nfaults         {sum(happened.values())}")
    for name, count in happened.most_common():
        print(f"    {count:3} {name}")
    print(f"accepted       {len(load.accepted)}, slowest response {load.slowest_ms:.0f} ms")
    print(f"not accepted   {dict(load.refused)}")
    print(f"statuses       {dict(system.sql('SELECT status, count(*) FROM jobs GROUP BY 1'))}")
    print(f"ticks          {schedules.summary(system)}")
    print(f"handler starts {sum(starts.values())}, {sum(1 for n in starts.values() if n > 1)} jobs more than once")  # fmt: skip
    print(f"rescued        {crashed} attempts; refused outcomes {logs.count('lease is no longer ours')}")  # fmt: skip
    buried = system.sql("SELECT count(*) FROM dead_letters WHERE reason LIKE 'crashed its worker%'")[0][0]  # fmt: skip
    print(f"buried         {buried} jobs after three crashes, {sum(1 for kind in load.accepted.values() if kind == 'deadly')} were deadly")  # fmt: skip
    print(f"at rest        {'not within' if rested is None else f'{rested:.1f} s of'} {REST_SECONDS:g} s after the last fault")  # fmt: skip
    print(f"thread deaths  {logs.count('A worker thread had died')}, tracebacks {logs.count('Traceback (most recent')}")  # fmt: skip
    for line in verdict.lines():
        print(line)
    print("verdict        " + ("nothing lost, nothing stuck" if verdict.is_good else "BROKEN"))
