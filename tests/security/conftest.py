"""The application as on the internet: in production mode, with tokens, users and a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import config, create_app

TOKENS = {
    "viewer": "viewer-token-0123456789",
    "operator": "operator-token-012345",
    "admin": "admin-token-0123456789",
}
PASSWORDS = {
    "ada": ("correct horse", "admin"),
    "bob": ("battery staple", "operator"),
    "eve": ("only looking", "viewer"),
}
PRODUCTION = {
    "APP_ENV": "production",
    "SECRET_KEY": "a key of thirty-two characters or more",
    "API_TOKENS": ",".join(f"{role}:{secret}:{role}" for role, secret in TOKENS.items()),
    "DASHBOARD_USERS": ",".join(
        f"{name}:{secret}:{role}" for name, (secret, role) in PASSWORDS.items()
    ),
}


@pytest.fixture
def make(test_env: dict[str, str], redis: Any) -> Callable[..., Any]:
    """``make(API_RATE_LIMIT="3")``: an application with these settings beside the usual ones."""
    return lambda **more: create_app(config.load({**test_env, **PRODUCTION, **more}))


@pytest.fixture
def closed(make: Callable[..., Any]) -> Any:
    return make()


@pytest.fixture
def bearer() -> Callable[[str], dict[str, str]]:
    return lambda role: {"Authorization": f"Bearer {TOKENS[role]}"}


@pytest.fixture
def sign_in(closed: Any) -> Callable[..., FlaskClient]:
    """A browser, signed in; without CSRF checks, which have tests of their own."""

    def sign_in(name: str, app: Any = None) -> FlaskClient:
        app = app or closed
        app.config["WTF_CSRF_ENABLED"] = False
        client = app.test_client()
        answer = client.post("/sign-in", data={"name": name, "password": PASSWORDS[name][0]})
        assert answer.status_code == 303, answer.text
        return client

    return sign_in
