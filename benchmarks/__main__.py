"""``python -m benchmarks [drain latency bulk single live post memory busy idle limits schedules scale overload unit peers] [--rounds 3]``: a line per measurement."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence

from benchmarks import (
    drain,
    idle,
    limits,
    live,
    overload,
    peers_run,
    programs,
    scale,
    schedules,
    service,
    unit,
)  # fmt: skip


def spread(values: Sequence[float], digits: int = 0) -> str:
    """min / median / max"""
    three = min(values), statistics.median(values), max(values)
    return " / ".join(f"{value:,.{digits}f}" for value in three)


def run_drain(rounds: int) -> None:
    ours, theirs = [], []
    for _ in range(rounds):
        # Alternating, so that a slow minute of the machine affects both.
        theirs.append(drain.plain_huey())
        ours.append(drain.ours())
    ratio = statistics.median(ours) / statistics.median(theirs)
    say("drain of 30,000, jobs/s", spread(ours))
    say("  plain Huey, 5 threads", spread(theirs))
    say("  ratio of medians (target 5)", f"{ratio:.1f}")


def run_latency(rounds: int) -> None:
    found = [service.latency() for _ in range(rounds)]
    for name, target in (("p50", 5), ("p95", None), ("p99", 10)):
        goal = f" (target {target})" if target else ""
        say(f"POST → completed at 50/s, ms, {name}{goal}", spread([f[name] for f in found], 1))


def run_bulk(rounds: int) -> None:
    for size in (1000, 5000):
        found = [service.bulk(size) for _ in range(rounds)]
        say(f"bulk insert, {size:,} a request, jobs/s (target 15,000)", spread(found))


def run_single(rounds: int) -> None:
    found = [service.single() for _ in range(rounds)]
    for name in found[0]:
        goal = " (target 1,500)" if name == "per second" else ""
        say(f"single POSTs, 50 connections, {name}{goal}", spread([f[name] for f in found], 1))


def run_live(rounds: int) -> None:
    """Beside plain Huey's drain, in turns: the live path costs an HTTP request and two commits more."""
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(drain.plain_huey())
        ours.append(live.post_and_run())
    for name in ours[0]:
        say(f"POST and run, 50 connections, {name}", spread([one[name] for one in ours], 1))
    say("  plain Huey's drain, 5 threads", spread(theirs))
    ratio = statistics.median(one["jobs/s"] for one in ours) / statistics.median(theirs)
    say("  ratio of medians (target 0.40)", f"{ratio:.2f}")


def run_post(rounds: int) -> None:
    found = [live.post_only() for _ in range(rounds)]
    for name in found[0]:
        say(f"POST with a token, no worker, {name}", spread([f[name] for f in found], 1))


def run_memory(rounds: int) -> None:
    for jobs, mib in service.memory():
        say(f"worker after {jobs:,} jobs, MiB (target < 120)", f"{mib:.0f}")


ONLY: str | None = None


def run_busy(rounds: int) -> None:
    rate = drain.ours() / 2
    found = [drain.busy(rate) for _ in range(rounds)]
    for name in found[0]:
        say(f"at half of the drain rate, {name}", spread([f[name] for f in found], 1))


def run_idle(rounds: int) -> None:
    say("web at rest, MiB", f"{idle.web_memory():.0f}")
    for count, transactions, commands in ((1, 3, 8), (30, 60, 200)):
        with idle.workers(count) as processes:
            readings = [idle.traffic(processes) for _ in range(rounds)]
            late = [idle.lateness() for _ in range(rounds)]
            mib = idle.memory(processes)
        workers = f"{count} idle worker{'' if count == 1 else 's'}"
        goals = {"transactions": transactions, "Redis commands": commands}
        for name in readings[0]:
            goal = f" (target {goals[name]})" if name in goals else " of each"
            say(f"{workers}, {name}/s{goal}", spread([r[name] for r in readings], 1))
        for name in late[0]:
            say(f"{workers}, delayed jobs late by ms, {name}", spread([r[name] for r in late], 1))
        say(f"{workers}, MiB of each", f"{mib:.0f}")


def run_schedules(rounds: int) -> None:
    lags = [schedules.lag() for _ in range(rounds)]
    for name in lags[0]:
        say(f"100 schedules each second, ms, {name}", spread([r[name] for r in lags], 1))
    bursts = [schedules.burst() for _ in range(rounds)]
    for name in bursts[0]:
        say(f"10,000 at one instant, {name}", spread([r[name] for r in bursts]))
    rests = [schedules.at_rest() for _ in range(rounds)]
    for name in rests[0]:
        say(f"10,000 at rest, {name}/s of each worker", spread([r[name] for r in rests], 1))


def run_scale(rounds: int) -> None:
    say("drain, empty table, jobs/s", spread([drain.ours() for _ in range(rounds)]))
    for rows in (1_000_000, 10_000_000):
        scale.main(rows)
        found = [drain.ours(keep=True) for _ in range(rounds)]
        say(f"drain with {rows:,} jobs in the table, jobs/s", spread(found))


def run_overload(rounds: int) -> None:
    for name, values in overload.summary(*overload.turns(rounds)):
        say(name, spread(values, 1))
    for name, rates in overload.fronts(rounds).items():
        say(f"16 connections, a second: {name}", spread(rates))


def run_limits(rounds: int) -> None:
    found = [limits.throughput() for _ in range(rounds)]
    say("200 slots, 1,000 keys, no-ops/s (target 4,000)", spread(found))
    handovers = [limits.handover() for _ in range(rounds)]
    for name, target in (("p50", 10), ("p99", 30)):
        say(f"a slot of one, end to next start, ms, {name} (target {target})",
            spread([one[name] for one in handovers], 1))  # fmt: skip
    ratios = [limits.bulk_ratio() for _ in range(rounds)]
    say("bulk insert, limited as a share of others (target 0.80)", spread(ratios, 2))
    for name, milliseconds in limits.waiting().items():
        say(f"a pass while 1,000,000 jobs wait, ms, {name}", f"{milliseconds:.1f}")


def run_unit(rounds: int) -> None:
    print("\n".join(unit.table(rounds)), flush=True)


MEASUREMENTS: dict[str, Callable[[int], None]] = {
    "drain": run_drain,
    "latency": run_latency,
    "bulk": run_bulk,
    "single": run_single,
    "live": run_live,
    "post": run_post,
    "memory": run_memory,
    "busy": run_busy,
    "idle": run_idle,
    "limits": run_limits,
    "schedules": run_schedules,
    "scale": run_scale,
    "overload": run_overload,
    "unit": run_unit,
    "peers": lambda rounds: peers_run.run(rounds, ONLY),
}


def say(what: str, value: str) -> None:
    print(f"{what:<62} {value}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="peers: those with this in their name")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(MEASUREMENTS):
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}.")
    global ONLY
    ONLY = arguments.only
    programs.migrate()
    say("min / median / max of rounds", str(arguments.rounds))
    for name in arguments.names or [
        n for n in MEASUREMENTS if n not in ("idle", "limits", "peers", "scale")
    ]:
        MEASUREMENTS[name](arguments.rounds)


if __name__ == "__main__":
    main()
