"""The role that a route needs, declared at the route. A route without a declaration answers nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from app.config import ROLES

View = TypeVar("View", bound=Callable[..., Any])

#: The route is answered without authentication: it must not reveal anything about jobs.
PUBLIC = "public"
VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"


def requires(role: str) -> Callable[[View], View]:
    """Declares the role of a view: one of config.ROLES, or PUBLIC. Raises ValueError for others.

    viewer reads, operator changes, admin deletes and reads the audit log.
    """
    if role not in (PUBLIC, *ROLES):
        raise ValueError(f"{role!r} is not a role")

    def declare(view: View) -> View:
        view.required_role = role  # type: ignore[attr-defined]
        return view

    return declare


def required_role(view: Callable[..., Any] | None) -> str | None:
    """The declared role of a view; None where nothing is declared."""
    return getattr(view, "required_role", None)
