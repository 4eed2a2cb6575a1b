"""Declares the role that a route needs, at the route. Requests to a route without a declaration fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from app.config import ROLES

View = TypeVar("View", bound=Callable[..., Any])

#: The route needs no authentication, so it must not reveal anything about jobs.
PUBLIC = "public"
VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"


def requires(role: str) -> Callable[[View], View]:
    """Declare the role of a view: one of config.ROLES, or PUBLIC. Raises ValueError for other roles.

    A viewer reads, an operator changes jobs, an admin deletes them and reads the audit log.
    """
    if role not in (PUBLIC, *ROLES):
        raise ValueError(f"{role!r} is not a role")

    def declare(view: View) -> View:
        view.required_role = role  # type: ignore[attr-defined]
        return view

    return declare


def required_role(view: Callable[..., Any] | None) -> str | None:
    """The declared role of a view; None without a declaration."""
    return getattr(view, "required_role", None)
