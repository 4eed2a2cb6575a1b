"""Which tests ``--fast`` (``make test-fast``) selects: those that start nothing outside this process."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
#: Folders and files where every test starts a program or a server; --fast doesn't even import them.
SKIPPED = ("browser", "clients", "dev", "front", "journeys", "test_deployment.py")
#: Files without a pure test, by folder, not imported either: half of the time would go into collecting them.
#: tests/test_fast.py fails when a pure test is added to one of them.
NOTHING_PURE = {
    "": (
        "benchmarks cli clock database database_errors logs metrics own_migrations schema "
        "statement_timeouts testing"
    ),
    "api": (
        "bad_input bulk cors create dead_letters errors health idempotency job list "
        "new_jobs over_http schemathesis switches verbs"
    ),
    "dashboard": "actions bulk copy failures fragments outages pages why xss",
    "handlers": "http_limits http_redirects",
    "jobs": (
        "bulk doctor enqueue_function lifecycle_table machine pulses queries_dead_letters "
        "queries_jobs queries_orders queries_overviews queries_pages queries_sizes "
        "stats_counters"
    ),
    "security": ("limits_of_roles nobody open_mode security_log sessions worker_secrets"),
    "worker": (
        "commit consumer handler_connections heartbeat inbox isolation known_types "
        "machine mirror outbox promotion queue_names ready_set reconcile shared_redis "
        "sweeper"
    ),
}
NOTHING_PURE_FILES = frozenset(
    (Path(folder) / f"test_{name}.py").as_posix()
    for folder, names in NOTHING_PURE.items()
    for name in names.split()
)
#: Fixtures that start something, or need what another one started.
SERVICES = frozenset(
    {
        "running_services",
        "private",
        "http_server",
        "smtp_server",
        "raw_server",
        "browser",
        "make_server",
    }
)


def is_skipped(path: Path) -> bool:
    """Whether no test in this file or folder is pure."""
    if not path.is_relative_to(TESTS):
        return False
    name = path.relative_to(TESTS).as_posix()
    return name in SKIPPED or name in NOTHING_PURE_FILES


def is_pure(item: pytest.Item) -> bool:
    """Whether a test is quick, and uses no fixture that starts a service, not even indirectly.

    Property tests are left out: a hundred examples each take longer than all pure tests together.
    """
    is_property = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    is_slow = is_property or item.get_closest_marker("slow") is not None
    return not is_slow and SERVICES.isdisjoint(getattr(item, "fixturenames", ()))
