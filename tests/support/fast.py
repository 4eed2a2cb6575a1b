"""Which tests ``--fast`` (``make test-fast``) selects: those that start nothing outside this process."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
#: Folders and files where every test starts a program or a server; --fast doesn't even import them.
SKIPPED = ("browser", "clients", "dev", "front", "journeys", "test_deployment.py")
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
    return path.is_relative_to(TESTS) and path.relative_to(TESTS).as_posix() in SKIPPED


def is_pure(item: pytest.Item) -> bool:
    """Whether a test is quick, and uses no fixture that starts a service, not even indirectly.

    Property tests are left out: a hundred examples each take longer than all pure tests together.
    """
    is_property = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    is_slow = is_property or item.get_closest_marker("slow") is not None
    return not is_slow and SERVICES.isdisjoint(getattr(item, "fixturenames", ()))
