"""The vendored files are the published ones."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"


def test_every_vendored_script_has_the_recorded_hash() -> None:
    recorded = dict(
        re.findall(
            r"^\| (\S+\.js) \|.*\| ([0-9a-f]{64}) \|$", (VENDOR / "README.md").read_text(), re.M
        )
    )
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.js")
    }
    assert found == recorded


def test_htmx_is_the_version_that_was_tried() -> None:
    assert 'version="4.0.1"' in (VENDOR / "htmx.min.js").read_text()
