"""How often: sign-ins and wrong tokens by address, requests by caller."""

from __future__ import annotations

import logging
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter

from app.config import Settings

log = logging.getLogger(__name__)

SIGN_INS = RateLimitItemPerMinute(10, 5, namespace="sign-in")  # 10 in 5 minutes
FAILURES = RateLimitItemPerMinute(100, namespace="token")


class Rates:
    """Counts. What limits guessing is shared over Redis, or kept here while Redis is away."""

    def __init__(self, settings: Settings) -> None:
        self._here = FixedWindowRateLimiter(MemoryStorage())
        self._url = settings.redis_url
        self._shared: FixedWindowRateLimiter | None = None
        limit = settings.api_rate_limit
        self._api = RateLimitItemPerMinute(limit, namespace="api") if limit else None

    def take(self, caller: str) -> int:
        """One request; the seconds to wait, 0 when there is room. Per process: it costs no round trip."""
        if self._api is None or self._here.hit(self._api, caller):
            return 0
        return _until(self._here.get_window_stats(self._api, caller).reset_time)

    def is_shut(self, address: str) -> int:
        """Seconds for which an address that showed too many wrong tokens is not listened to."""
        if self._here.test(FAILURES, address):
            return 0
        return _until(self._here.get_window_stats(FAILURES, address).reset_time)

    def count_failure(self, address: str) -> None:
        self._here.hit(FAILURES, address)

    def take_sign_in(self, address: str) -> int:
        """One try to sign in; the seconds to wait, 0 when it may be made."""
        # Here first, so that Redis's absence opens nothing.
        limiters = [self._here, *self._redis()]
        for limiter in limiters:
            try:
                if not limiter.hit(SIGN_INS, address):
                    return _until(limiter.get_window_stats(SIGN_INS, address).reset_time)
            except Exception as error:  # whatever the client of Redis raises
                log.warning("Sign-ins are counted in this process only: %s", type(error).__name__)
        return 0

    def _redis(self) -> list[FixedWindowRateLimiter]:
        try:
            if self._shared is None:
                storage = RedisStorage(
                    self._url,
                    key_prefix="{jobs}:limits",
                    socket_timeout=1,
                    socket_connect_timeout=1,
                )
                self._shared = FixedWindowRateLimiter(storage)
        except Exception as error:
            log.warning("Sign-ins are counted in this process only: %s", type(error).__name__)
            return []
        return [self._shared]


def _until(reset_time: float) -> int:
    return max(1, int(reset_time - time.time()) + 1)
