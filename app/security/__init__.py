"""Authentication, roles and rate limits; security headers; masking of secrets."""

from __future__ import annotations

from flask import Flask

from app.config import Settings
from app.security import authentication, body_limits, headers
from app.security.authentication import (
    actor,
    current,
    may,
    may_search_payloads,
    require_payload_search,
    shown,
)
from app.security.masking import MASK, is_secret_name, masked

__all__ = [
    "MASK",
    "actor",
    "current",
    "init_app",
    "is_secret_name",
    "masked",
    "may",
    "may_search_payloads",
    "require_payload_search",
    "shown",
]


def init_app(app: Flask, settings: Settings) -> None:
    """Call it before any blueprint is registered, so that every request is authorized first."""
    headers.init_app(app, settings)
    body_limits.init_app(app, settings)
    authentication.init_app(app, settings)
