"""The only reader of the environment: typed, frozen, and precise about what is wrong.

``settings`` is the table of all settings; ``readers`` turns text into values, ``servers`` and
``credentials`` hold the settings with rules of their own, ``access`` what a web needs to be safe.
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

#: What authenticates people and programs: of no use to a worker or its handlers.
WEB_SECRETS = ("SECRET_KEY", "API_TOKENS", "DASHBOARD_PASSWORD", "DASHBOARD_USERS")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from ``environ`` (default: the process's own). Raises ConfigError."""
    settings = read(os.environ if environ is None else environ)
    check_names((*settings.api_tokens, *settings.dashboard_users))
    if settings.heartbeat_seconds * 2 > settings.lease_seconds:
        raise ConfigError(
            f"HEARTBEAT_SECONDS ({settings.heartbeat_seconds:g}) must be at most half of "
            f"LEASE_SECONDS ({settings.lease_seconds:g}), or healthy workers lose their jobs."
        )
    return settings


def load_for_worker() -> Settings:
    """Settings without WEB_SECRETS, which leave this process's environment. Raises ConfigError."""
    load()  # an invalid secret stops a worker, as it stops every other process
    for name in WEB_SECRETS:
        os.environ.pop(name, None)
    return load()
