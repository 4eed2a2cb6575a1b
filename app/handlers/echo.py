"""``echo``: returns its payload."""

from __future__ import annotations

from typing import Any

from app.jobs.registry import job


@job("echo")
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """Returns its payload, whatever it is: for trying things out."""
    return payload
