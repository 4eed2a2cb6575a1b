"""What work costs: CPU of each program, and what PostgreSQL and Redis did meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from benchmarks import programs


def cpu_seconds(**named: psutil.Process) -> dict[str, float]:
    """CPU used so far by each program, by PostgreSQL, by Redis and by this client.

    A program is its process with all descendants, those that have ended included. PostgreSQL is the
    server of DATABASE_URL, without the session that the benchmark reads with.
    """
    backend = psutil.Process(programs.scalar("SELECT pg_backend_pid()"))
    server = backend.parent()
    assert server is not None, "the benchmarks measure a PostgreSQL on this machine"
    redis = psutil.Process(int(programs.redis().info("server")["process_id"]))
    return {
        **{name: _tree(process) for name, process in named.items()},
        "PostgreSQL": _tree(server) - _own(backend),
        "Redis": _tree(redis),
        "client": _own(psutil.Process()),
    }


def _tree(root: psutil.Process) -> float:
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            # A child that has ended is counted by its parent.
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _own(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@dataclass(frozen=True, slots=True)
class Counters:
    """What PostgreSQL and Redis have counted so far. Server processes report with some delay."""

    wal_bytes: int
    page_images: int  # whole pages in the WAL: the first change of a page after a checkpoint
    dead_rows: int  # updated and deleted; the HOT ones included
    hot_rows: int  # whose update touched no index
    transactions: int
    redis_commands: int

    def since(self, before: Counters) -> dict[str, int]:
        """The difference, by name."""
        return {name: getattr(self, name) - getattr(before, name) for name in self.__slots__}


_COUNTERS = """
SELECT json_build_object(
    'wal_bytes', pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
    'page_images', (SELECT wal_fpi FROM pg_stat_wal),
    'dead_rows', (SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables),
    'hot_rows', (SELECT sum(n_tup_hot_upd) FROM pg_stat_user_tables),
    'transactions', (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()))
"""


def counters() -> Counters:
    """The counts now; complete when the programs that wrote have ended."""
    counted: Mapping[str, int] = programs.scalar(_COUNTERS)
    commands = int(programs.redis().info("stats")["total_commands_processed"])
    return Counters(**counted, redis_commands=commands)
