"""Handlers run whatever they are given: what lets people and programs in is not within their reach."""

from __future__ import annotations

import os

import pytest

from app import config
from tests.security.conftest import PRODUCTION

SECRETS = {**PRODUCTION, "DASHBOARD_PASSWORD": "a password of its own", "API_TOKENS": "ci:0123456789abcdef:viewer"}  # fmt: skip


def test_a_worker_forgets_what_lets_people_in(
    test_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**test_env, **SECRETS}.items():
        monkeypatch.setenv(name, value)
    settings = config.load_for_worker()
    assert (settings.api_tokens, settings.dashboard_users) == ((), ())
    assert settings.secret_key != SECRETS["SECRET_KEY"]
    assert not set(config.WEB_SECRETS) & set(os.environ)
    assert settings.database_url == config.load(test_env).database_url


def test_a_worker_refuses_a_wrong_setting_all_the_same(
    test_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**test_env, **SECRETS, "API_TOKENS": "ci"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(config.ConfigError, match="API_TOKENS"):
        config.load_for_worker()
