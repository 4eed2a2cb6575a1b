"""The settings: the only code that reads the environment. Typed, immutable, and with exact error messages.

``settings`` is the table of all settings; ``readers`` converts text to values; ``servers`` and ``credentials``
have the settings with special rules; ``access`` checks that a web server is safe to start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from app.config.access import check_access
from app.config.credentials import (
    RESERVED_NAMES,
    ROLES,
    Credential,
    check_actor_name,
    check_names,
)
from app.config.readers import ConfigError
from app.config.settings import ENVIRONMENTS, MIB, Settings, read

__all__ = (
    "ENVIRONMENTS",
    "MIB",
    "RESERVED_NAMES",
    "ROLES",
    "WEB_SECRETS",
    "ConfigError",
    "Credential",
    "Settings",
    "check_access",
    "check_actor_name",
    "load",
    "load_for_worker",
)

#: The secrets that authenticate people and programs; a worker and its handlers don't need them.
WEB_SECRETS = ("SECRET_KEY", "API_TOKENS", "DASHBOARD_PASSWORD", "DASHBOARD_USERS")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from ``environ`` (default: the environment of this process). Raises ConfigError."""
    settings = read(os.environ if environ is None else environ)
    check_names((*settings.api_tokens, *settings.dashboard_users))
    if settings.heartbeat_seconds * 2 > settings.lease_seconds:
        raise ConfigError(
            f"HEARTBEAT_SECONDS ({settings.heartbeat_seconds:g}) must be at most half of "
            f"LEASE_SECONDS ({settings.lease_seconds:g}), or healthy workers lose their jobs."
        )
    return settings


def load_for_worker() -> Settings:
    """Settings without WEB_SECRETS, which are removed from this process's environment. Raises ConfigError."""
    load()  # an invalid secret stops a worker like any other process
    for name in WEB_SECRETS:
        os.environ.pop(name, None)
    return load()
