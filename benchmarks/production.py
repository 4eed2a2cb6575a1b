"""The settings of a production deployment, so that a measured request pays for authentication and rate limits."""

from __future__ import annotations

TOKENS = {
    name: f"{name}-{'0123456789abcdef' * 2}" for name in ("poster", "eye1", "eye2", "eye3", "eye4")
}
SETTINGS = {
    "APP_ENV": "production",
    "SECRET_KEY": "Zq3vT8mLx0RbYw7NcJ5hKd2PfGs9UaEo4t",
    "API_TOKENS": ",".join(
        f"{name}:{token}:{'operator' if name == 'poster' else 'viewer'}"
        for name, token in TOKENS.items()
    ),
    # On, but out of reach: a benchmark sends more than the default of 1,000 requests a second.
    "API_RATE_LIMIT": "1000000000",
}
