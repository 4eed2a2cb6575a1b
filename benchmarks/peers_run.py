"""This project and similar systems on the same Redis and PostgreSQL, alternating, in one run → ``benchmarks/RESULTS.md``."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from app.dev.programs import procfile
from benchmarks import http, programs

HERE = Path(__file__).resolve().parent
VENV = programs.ROOT / "var" / "peers"
OURS_ENV = {"JOB_MODULES": "benchmarks.peers.ours"}


def _redis_length(key: str) -> Callable[[], int]:
    return lambda: programs.redis().llen(key)


@dataclass(frozen=True)
class Peer:
    """One way to run one system."""

    name: str
    module: str
    command: str  # its worker; {bin} is its environment's bin folder
    pending: Callable[[], int]
    keeps: str  # what survives a crash of worker or Redis
    drain_jobs: int = 30_000
    enqueue_jobs: int = 5_000
    workers: int = 1
    is_ours: bool = False

    @property
    def bin(self) -> Path:
        return programs.BIN if self.is_ours else VENV / "bin"

    def ask(self, *arguments: object) -> str:
        command = [str(self.bin / "python"), "-m", "benchmarks.peers.client", self.module]
        done = subprocess.run(
            [*command, *map(str, arguments)],
            cwd=programs.ROOT,
            env=self.env(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{self.name}: {done.stderr[-2000:]}")
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    def env(self) -> dict[str, str]:
        # psycopg 3 and the other systems don't know our driver's name.
        return programs.environment(**OURS_ENV, PYTHONPATH=str(programs.ROOT))


def _procrastinate_pending() -> int:
    return int(
        programs.scalar("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")
    )


def _ours_pending() -> int:
    return int(programs.scalar("SELECT count(*) FROM jobs WHERE status IN ('pending', 'processing')"))  # fmt: skip


WORKER = procfile()["worker"]
DURABLE = "everything: each job and its outcome is committed to PostgreSQL with fsync"
AT_MOST_ONCE = "a worker that dies loses the jobs it holds; losing Redis loses all jobs"
QUIET = "--without-gossip --without-mingle --without-heartbeat -l WARNING"
PEERS = [
    Peer("this project, 5 threads", "ours", WORKER, _ours_pending, DURABLE, is_ours=True),
    Peer("this project, 2 × 5 threads", "ours", WORKER, _ours_pending, DURABLE, workers=2,
         is_ours=True),
    Peer("Huey, 5 threads", "plain_huey",
         "{bin}/huey_consumer benchmarks.peers.plain_huey.huey -w 5 -k thread -q",
         _redis_length("huey.redis.peer"), AT_MOST_ONCE),
    Peer("Celery, 5 threads", "celery_app",
         f"{{bin}}/celery -A benchmarks.peers.celery_app worker -P threads -c 5 {QUIET}",
         _redis_length("celery"), AT_MOST_ONCE, drain_jobs=10_000),
    Peer("Celery, 2 processes", "celery_app",
         f"{{bin}}/celery -A benchmarks.peers.celery_app worker -P prefork -c 2 {QUIET}",
         _redis_length("celery"), AT_MOST_ONCE, drain_jobs=10_000),
    Peer("RQ, 2 processes", "rq_app",
         "{bin}/rq worker-pool -n 2 -q", _redis_length("rq:queue:default"),
         "jobs of a dead worker are found later; losing Redis loses all jobs", drain_jobs=1_000,
         enqueue_jobs=3_000),
    Peer("Dramatiq, 5 threads", "dramatiq_app",
         "{bin}/dramatiq benchmarks.peers.dramatiq_app -p 1 -t 5",
         _redis_length("dramatiq:default"),
         "jobs of a dead worker are redelivered; losing Redis loses all jobs", drain_jobs=10_000),
    Peer("Dramatiq, 2 × 8 threads", "dramatiq_app",
         "{bin}/dramatiq benchmarks.peers.dramatiq_app -p 2 -t 8",
         _redis_length("dramatiq:default"),
         "jobs of a dead worker are redelivered; losing Redis loses all jobs", drain_jobs=10_000),
    Peer("Procrastinate, 5 at once", "procrastinate_app",
         "{bin}/procrastinate --app benchmarks.peers.procrastinate_app.app worker -c 5",
         _procrastinate_pending,
         "everything, in PostgreSQL; jobs of a dead worker need a task of yours to be retried",
         drain_jobs=3_000, enqueue_jobs=2_000),
]  # fmt: skip


def install() -> None:
    """The peers' environment, once."""
    stamp, wanted = VENV / "installed", (HERE / "peers" / "requirements.txt").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pip = [VENV / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", HERE / "peers" / "requirements.txt"], check=True)
    stamp.write_text(wanted)


def _empty(peer: Peer) -> None:
    programs.empty()
    if peer.module == "procrastinate_app":
        if programs.scalar("SELECT to_regclass('procrastinate_jobs')::text") is None:
            peer.ask("setup")
        programs.scalar("TRUNCATE procrastinate_jobs, procrastinate_events CASCADE")


def _start(peer: Peer, stack: ExitStack) -> list[psutil.Process]:
    command = peer.command.format(bin=peer.bin)
    return [stack.enter_context(programs.program(command, **peer.env())) for _ in range(peer.workers)]  # fmt: skip


def _mib(processes: Sequence[psutil.Process]) -> float:
    # PSS: what forked processes share is counted once.
    total = 0
    for root in processes:
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # RQ forks a process for each job
                total += process.memory_full_info().pss
    return total / 2**20


def drain(peer: Peer) -> tuple[float, float]:
    """(jobs per second, MiB of the worker afterwards), from the first job taken to the last."""
    _empty(peer)
    jobs = peer.drain_jobs
    _fill(peer, jobs)
    with ExitStack() as stack:
        processes = _start(peer, stack)
        programs.wait(lambda: peer.pending() < jobs, 60)
        started, left = time.perf_counter(), peer.pending()
        programs.wait(lambda: peer.pending() == 0, 180)
        rate = left / (time.perf_counter() - started)
        return rate, _mib(processes)


def _fill(peer: Peer, jobs: int) -> None:
    # Exactly this many: without the warm-up job of the measured calls.
    peer.ask("bulk" if _can_bulk(peer) else "one-by-one", jobs - 1)


def _can_bulk(peer: Peer) -> bool:
    return peer.module in ("ours", "rq_app", "procrastinate_app")


def enqueue(peer: Peer) -> tuple[float, float | None]:
    """Jobs per second: one by one, and by the call for many."""
    _empty(peer)
    single = float(peer.ask("one-by-one", peer.enqueue_jobs))
    if not _can_bulk(peer):
        return single, None
    _empty(peer)
    return single, float(peer.ask("bulk", 20_000 if peer.is_ours else 5_000))


def pickup(peer: Peer, per_second: float = 50, seconds: float = 10) -> dict[str, float]:
    """Milliseconds from the enqueuing call to the start of the handler."""
    _empty(peer)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        _start(peer, stack)
        warm, file = Path(folder, "warm"), Path(folder, "starts")
        peer.ask("paced", 20, 1, warm)
        programs.wait(lambda: warm.exists() and len(warm.read_text().splitlines()) == 20, 60)
        peer.ask("paced", per_second, seconds, file)
        count = int(per_second * seconds)
        programs.wait(lambda: file.exists() and len(file.read_text().splitlines()) >= count, 60)
        times = [1000 * float(line) for line in file.read_text().splitlines()]
    return {f"p{p}": http.percentile(times, p) for p in (50, 95, 99)}


def run(rounds: int, only: str | None = None) -> None:
    """All measurements, alternating; prints results as they arrive and writes the table at the end."""
    install()
    peers = [p for p in PEERS if only is None or only.lower() in p.name.lower()]
    found: dict[str, dict[str, list[float]]] = {p.name: {} for p in peers}
    for round in range(rounds):
        for peer in peers:
            keep = found[peer.name]
            rate, mib = drain(peer)
            figures = {"drain": rate, "MiB": mib}
            if peer.workers == 1:
                single, many = enqueue(peer)
                figures["one by one"] = single
                if many is not None:
                    figures["bulk"] = many
                figures.update(pickup(peer))
            for name, value in figures.items():
                keep.setdefault(name, []).append(value)
            line = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
            print(f"{round + 1}  {peer.name}: {line}", flush=True)
    text = report(peers, found, rounds)
    print(text)
    if only is None:
        (HERE / "RESULTS.md").write_text(text)


COLUMNS = (
    ("drain", "drain, jobs/s", 0), ("one by one", "enqueue one by one, /s", 0),
    ("bulk", "enqueue 1,000 at a time, /s", 0), ("p50", "pickup p50, ms", 1),
    ("p95", "p95", 1), ("p99", "p99", 1), ("MiB", "worker, MiB", 0),
)  # fmt: skip


def report(peers: Sequence[Peer], found: dict[str, dict[str, list[float]]], rounds: int) -> str:
    lines = [
        "# Comparison with similar systems",
        "",
        (
            f'`make bench ARGS="peers --rounds {rounds}"`, {datetime.now(UTC):%Y-%m-%d}, medians of'
            f" {rounds} rounds, the systems alternating on one machine, one Redis and one PostgreSQL:"
        ),
        f"{machine()}.",
        "",
        (
            "Every handler does nothing. *Drain*: jobs queued beforehand, from the first start to the"
            " last completion; *×* is the ratio to Huey, which this project runs on. *Pickup*: at 50 jobs a"
            " second, from the enqueuing call to the start of the handler. *MiB*: all processes of the"
            " worker after the drain, shared pages counted once."
        ),
        "",
        "| | " + " | ".join(title for _, title, _ in COLUMNS) + " | drain × Huey |",
        "| --- |" + " ---: |" * (len(COLUMNS) + 1),
    ]
    base = found.get("Huey, 5 threads", {}).get("drain")
    for peer in peers:
        cells = []
        for key, _, digits in COLUMNS:
            values = found[peer.name].get(key)
            cells.append(f"{statistics.median(values):,.{digits}f}" if values else "")
        ratio = f"{statistics.median(found[peer.name]['drain']) / statistics.median(base):.2f}" if base else ""  # fmt: skip
        lines.append(f"| {peer.name} | " + " | ".join(cells) + f" | {ratio} |")
    lines += ["", "What a crash leaves:", ""]
    keeps_by_name: dict[str, str] = {}
    for peer in peers:
        keeps_by_name.setdefault(peer.name.split(",")[0], peer.keeps)
    lines += [f"- **{name}**: {keeps}." for name, keeps in keeps_by_name.items()]
    lines += [
        "",
        (
            "Settings: results off where that is a choice; RQ with its default worker (a fork per job);"
            " Celery without gossip, mingle and heartbeat; Procrastinate with an async task; systems"
            " without a figure have no call for many jobs. Drains are of 30,000 jobs (Celery and"
            " Dramatiq 10,000, Procrastinate 3,000, RQ 1,000). Only the drain is repeated with two workers."
        ),
        "",
        "Versions: " + versions() + ".",
        "",
    ]
    return "\n".join(lines)


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), "unknown CPU")  # fmt: skip
    server = programs.scalar("SHOW server_version")
    redis = programs.redis().info("server")["redis_version"]
    python = sys.version.split()[0]
    return f"{os.cpu_count()} cores of {model}, Python {python}, PostgreSQL {server} with fsync, Redis {redis}"


def versions() -> str:
    code = (
        "from importlib.metadata import version as v;"
        "print(', '.join(f'{n} {v(n)}' for n in ('huey', 'celery', 'rq', 'dramatiq', 'procrastinate')))"
    )
    done = subprocess.run([VENV / "bin" / "python", "-c", code], capture_output=True, text=True)
    return done.stdout.strip()
