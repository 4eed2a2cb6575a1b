"""The audit of dependencies: a vulnerability fails it, a database out of reach is said."""

from __future__ import annotations

import subprocess

import pytest

from app.dev import audit

WELL = {"name": "flask", "version": "3.1.3", "vulns": []}
VULNERABLE = {
    "name": "jinja2",
    "version": "3.1.1",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.2"]}, {"id": "PYSEC-2", "fix_versions": []}],
}
UNKNOWN = {"name": "mako", "skip_reason": "Dependency not found"}


def test_a_vulnerable_package_fails_the_audit_and_names_the_fix(capsys):
    assert audit.judge([WELL, VULNERABLE, UNKNOWN]) == 1

    assert capsys.readouterr().out.splitlines() == [
        "vulnerable: jinja2 3.1.1: PYSEC-1 (fixed in 3.1.2), PYSEC-2 (fixed in no release yet)",
        "audit: 2 packages looked up, 1 vulnerable, 1 not in the database",
    ]


def test_nothing_found_counts_what_was_looked_up(capsys):
    assert audit.judge([WELL, UNKNOWN]) == 0
    assert "1 packages looked up, 0 vulnerable, 1 not in" in capsys.readouterr().out


def test_an_empty_vulnerability_database_skips_the_audit(capsys):
    assert audit.judge([UNKNOWN]) == 0
    assert capsys.readouterr().out.startswith("audit skipped: ")


@pytest.mark.parametrize("ending", ["ConnectionError: no route\n", ""])
def test_no_report_is_a_skipped_audit(monkeypatch, capsys, ending):
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(
            command, 1, "", f"Traceback:\n{ending}" if ending else ""
        )

    monkeypatch.setattr(subprocess, "run", run)

    assert audit.main() == 0
    assert capsys.readouterr().out.startswith("audit skipped: ")


def test_an_unreachable_vulnerability_database_skips_the_audit(monkeypatch, capsys):
    def run(command: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(command, 120)

    monkeypatch.setattr(subprocess, "run", run)

    assert audit.main() == 0
    assert "no response within 120 s" in capsys.readouterr().out
