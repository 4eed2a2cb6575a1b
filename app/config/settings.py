"""The table of all settings, with their defaults and limits.

A setting's environment variable is the field's name in upper case, or ``variable``. docs/configuration.md and
``.env.example`` describe the settings; ``tests/test_config.py`` compares both with this table.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from app.config import credentials, servers
from app.config.credentials import RESERVED_NAMES, Credential
from app.config.readers import (
    Environment,
    choice,
    flag,
    is_development,
    names,
    number,
    path,
    setting,
    text,
)

ENVIRONMENTS = ("development", "test", "production")
MIB = 1024 * 1024
HOURS_PER_YEAR = 24 * 365


@dataclass(frozen=True, slots=True)
class Settings:
    """Typed, checked and immutable. A time's unit is at the end of the field's name."""

    app_env: str = setting(choice(ENVIRONMENTS, "production"))

    # Servers.
    database_url: str = setting(servers.database_url)  # always starts with postgresql+psycopg2://
    database_pool_size: int = setting(number(int, 7, 1, 1000))
    redis_url: str = setting(servers.redis_url)
    redis_prefix: str = setting(servers.redis_prefix)  # of all keys; empty, or ends with a colon

    # Authentication.
    secret_key: str = setting(servers.session_key)
    is_secret_key_given: bool = setting(credentials.is_given, variable="SECRET_KEY")
    api_tokens: tuple[Credential, ...] = setting(credentials.api_tokens)
    dashboard_users: tuple[Credential, ...] = setting(credentials.dashboard_users)
    is_auth_disabled: bool = setting(flag(False), variable="AUTH_DISABLED")
    session_hours: float = setting(number(float, 12, 0.01, HOURS_PER_YEAR))
    session_idle_minutes: float = setting(number(float, 480, 0, 60 * HOURS_PER_YEAR))  # 0: no limit
    https_only: bool = setting(flag(False))
    api_rate_limit: int = setting(number(int, 60_000, 0, 10**9))  # per minute, caller; 0: no limit
    trusted_proxies: int = setting(number(int, 0, 0, 10))

    # Web.
    host: str = setting(
        lambda env, name: text(env, name) or ("127.0.0.1" if is_development(env) else "0.0.0.0")
    )
    port: int = setting(number(int, 3000, 0, 65535))
    web_threads: int = setting(
        number(int, 32, 1, 64)
    )  # per process, for creating jobs; see front.quick_threads for others
    cors_origins: tuple[str, ...] = setting(servers.origins, variable="CORS_ORIGIN")
    max_body_bytes: int = setting(number(int, MIB, 1024, 1024 * MIB))
    max_bulk_bytes: int = setting(number(int, 16 * MIB, 1024, 1024 * MIB))

    # Jobs and workers.
    job_modules: tuple[str, ...] = setting(names)
    job_migrations: Path | None = setting(path(None))  # versions of the tables of job_modules
    queues: tuple[str, ...] = setting(servers.queues)  # in strict order; empty: all, round robin
    lease_seconds: float = setting(number(float, 30, 1, 3600))
    heartbeat_seconds: float = setting(number(float, 10, 0.1, 1200))
    sweep_seconds: float = setting(number(float, 2, 0.1, 60))
    schedule_grace_seconds: float = setting(number(float, 60, 0, 3600))
    max_attempts: int = setting(number(int, 5, 1, 100))
    backoff_base: float = setting(number(float, 2, 0.01, 100))
    backoff_cap_seconds: float = setting(number(float, 3600, 0, 31 * 86400))
    backoff_jitter: float = setting(number(float, 0, 0, 1))  # fraction of the wait
    default_timeout_seconds: float | None = setting(
        number(float, None, 0, 7 * 86400, is_zero_none=True)
    )
    stuck_seconds: float | None = setting(number(float, 60, 0, 86400, is_zero_none=True))
    max_crashes: int = setting(number(int, 3, 0, 100))
    unknown_type_hours: float = setting(number(float, 24, 0, HOURS_PER_YEAR))  # 0: never
    drain_seconds: float | None = setting(number(float, None, 0, 3600))  # None: huey_consumer's -t
    max_result_bytes: int = setting(number(int, MIB, 64, 64 * MIB))
    max_log_lines: int = setting(number(int, 1000, 0, 100_000))
    retention_days: float = setting(number(float, 7, 0, 36500))  # 0: keep everything
    audit_retention_days: float = setting(servers.audit_retention)  # 0: keep everything

    # Built-in job types.
    smtp_url: str | None = setting(servers.smtp_url)
    mail_from: str = setting(servers.mail_from)
    mail_from_allowed: tuple[str, ...] = setting(  # addresses and domains, lower case; empty: any
        lambda env, name: tuple(entry.lower() for entry in names(env, name))
    )
    mail_dir: Path | None = setting(
        lambda env, name: path(Path("var/mail") if is_development(env) else None)(env, name)
    )
    http_allow_private: bool = setting(lambda env, name: flag(is_development(env))(env, name))

    # Logs.
    log_level: str = setting(choice(("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"))
    log_format: str = setting(
        lambda env, name: choice(("text", "json"), "text" if is_development(env) else "json")(
            env, name
        )
    )
    sql_echo: bool = setting(servers.sql_echo)

    @property
    def is_development(self) -> bool:
        """Whether this is a developer's machine or a test: no authentication, loopback only."""
        return self.app_env in ("development", "test")

    @property
    def actor_names(self) -> frozenset[str]:
        """The names of people and programs in the settings, and reserved names, in lower case; no stored token may use them."""
        owners = (*self.api_tokens, *self.dashboard_users)
        return frozenset(owner.name.casefold() for owner in owners) | RESERVED_NAMES


def read(env: Environment) -> Settings:
    """The settings in ``env``, each checked by itself. Raises ConfigError."""
    values = {}
    for field in fields(Settings):
        variable = field.metadata["variable"] or field.name.upper()
        values[field.name] = field.metadata["read"](env, variable)
    return Settings(**values)
