"""Which requests are for the API, as opposed to the dashboard."""

from __future__ import annotations


def is_api_path(path: str) -> bool:
    """Whether programs request this path: /api, /health, /metrics, or a path below one of them."""
    return f"{path}/".startswith(("/api/", "/health/", "/metrics/"))
