"""``python -m app.dev.audit``: known vulnerabilities of what is deployed, by pip-audit.

pip-audit calls packages that its database does not know, or a database that it cannot read, "no known
vulnerabilities"; here that is a skipped audit with its reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 120


def main() -> int:
    """Audits requirements.txt; the exit code is 1 for a known vulnerability only."""
    lock = ROOT / "requirements.txt"
    program = str(Path(sys.executable).with_name("pip-audit"))
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [program, "--progress-spinner", "off", "--disable-pip", "-r", str(lock)]
        command += ["--format", "json", "--output", str(report)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            return _skip(f"no response within {LIMIT_SECONDS} s")
        if not report.exists():
            last = done.stderr.strip().splitlines() or ["pip-audit wrote no report"]
            return _skip(last[-1])
        return judge(json.loads(report.read_text())["dependencies"])


def judge(packages: Sequence[dict[str, Any]]) -> int:
    """Prints what a report says; 1 if a package is vulnerable.

    Each has ``name``, and ``version`` and ``vulns``, or ``skip_reason`` where it was not looked up.
    """
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        reasons = [str(package["skip_reason"]) for package in packages]
        return _skip((reasons or ["nothing to audit"])[0])
    vulnerable = [package for package in audited if package["vulns"]]
    for package in vulnerable:
        ids = ", ".join(
            f"{found['id']} (fixed in {', '.join(found['fix_versions']) or 'no release yet'})"
            for found in package["vulns"]
        )
        print(f"vulnerable: {package['name']} {package['version']}: {ids}")
    print(
        f"audit: {len(audited)} packages looked up, {len(vulnerable)} vulnerable, "
        f"{len(packages) - len(audited)} not in the database"
    )
    return 1 if vulnerable else 0


def _skip(reason: str) -> int:
    print(f"audit skipped: no access to the vulnerability database: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
