"""Checks the settings that a web server needs to be safe."""

from __future__ import annotations

from app.config.readers import ConfigError
from app.config.settings import Settings
from app.config.weak_secrets import is_common, is_short_key


def check_access(settings: Settings) -> None:
    """Raises ConfigError if the settings would give strangers access."""
    if settings.is_development:
        if settings.host not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigError(
                f"HOST is {settings.host!r} and APP_ENV is {settings.app_env!r}, which has no "
                "authentication; set HOST=127.0.0.1, or APP_ENV=production with credentials."
            )
        return
    if not settings.is_secret_key_given:
        raise ConfigError(
            "SECRET_KEY is not set; set it to 32 or more random characters, the same for all processes "
            "(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')."
        )
    if is_short_key(settings.secret_key):
        raise ConfigError(
            "SECRET_KEY is too short or repetitive, so sessions could be forged; set it to 32 or more random "
            "characters (python3 -c 'import secrets; print(secrets.token_urlsafe(32))')."
        )
    for user in settings.dashboard_users:
        if is_common(user.secret, user.name):
            raise ConfigError(
                f"The password of {user.name!r} (DASHBOARD_PASSWORD or DASHBOARD_USERS) is one that attackers "
                "try first; choose another one."
            )
    if not (settings.api_tokens or settings.dashboard_users or settings.is_auth_disabled):
        raise ConfigError(
            "No one could sign in: set DASHBOARD_PASSWORD, and API_TOKENS=name:token:role for programs. "
            "AUTH_DISABLED=1 gives access to anyone who can reach this address."
        )
