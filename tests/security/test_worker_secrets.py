"""Handlers can't reach the secrets that authenticate people and programs."""

from __future__ import annotations

import os

import pytest

from app import config
from tests.security.conftest import PRODUCTION

SECRETS = {**PRODUCTION, "DASHBOARD_PASSWORD": "a password of its own", "API_TOKENS": "ci:0123456789abcdef:viewer"}  # fmt: skip


def test_a_worker_drops_the_web_secrets(
    test_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**test_env, **SECRETS}.items():
        monkeypatch.setenv(name, value)
    settings = config.load_for_worker()
    assert (settings.api_tokens, settings.dashboard_users) == ((), ())
    assert settings.secret_key != SECRETS["SECRET_KEY"]
    assert not set(config.WEB_SECRETS) & set(os.environ)
    assert settings.database_url == config.load(test_env).database_url


def test_a_worker_still_refuses_an_invalid_web_secret(
    test_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**test_env, **SECRETS, "API_TOKENS": "ci"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(config.ConfigError, match="API_TOKENS"):
        config.load_for_worker()
