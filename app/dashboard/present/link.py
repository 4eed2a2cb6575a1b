"""A link to a page of the dashboard, without its address: templates build that with url_for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Link:
    """``endpoint`` as url_for takes it, and its arguments."""

    endpoint: str
    args: dict[str, Any] = field(default_factory=dict)
