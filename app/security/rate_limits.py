"""Rate limits: failed sign-ins by address and by account, wrong tokens by address, requests by caller."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import time
from functools import lru_cache

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from app.broker.client import connect
from app.config import Settings
from app.security.memory_counts import MemoryCounts

log = logging.getLogger(__name__)

SIGN_INS = RateLimitItemPerMinute(10, 5, namespace="sign-in")  # 10 in 5 minutes, by address
ACCOUNT = RateLimitItemPerHour(100, namespace="account")  # from all addresses together
TOKENS = RateLimitItemPerMinute(100, namespace="token")

#: API_RATE_LIMIT is per minute.
WINDOW_SECONDS = 60
#: After a failure, nothing is sent to Redis for this long.
REST_SECONDS = 5.0
MAX_BLOCKED = 10_000


class RateLimits:
    """Counts requests in this process, and failed authentication in Redis as well while it is available."""

    def __init__(self, settings: Settings) -> None:
        self._requests = MemoryCounts()  # by caller
        self._failures = MemoryCounts()
        self._local = FixedWindowRateLimiter(self._failures)
        self._url = settings.redis_url
        self._key_prefix = f"{settings.redis_prefix}{{jobs}}:limits"
        self._shared: FixedWindowRateLimiter | None = None
        self._limit = settings.api_rate_limit
        self._resting_until = 0.0
        self._blocked_until: dict[str, float] = {}  # source → time, by the counts of all processes

    def take(self, caller: str) -> int:
        """Count a request; returns the seconds to wait, 0 if it may run. Per process, without a round trip."""
        if not self._limit or self._requests.incr(caller, WINDOW_SECONDS) <= self._limit:
            return 0
        return _seconds_until(self._requests.get_expiry(caller))

    def token_wait(self, address: str) -> int:
        """The seconds for which an address that sent too many wrong tokens is blocked; 0: it is not.

        Called for every request, so it makes no round trip: the counts of other processes are read with the first
        wrong token that this process receives.
        """
        if not self._failures.windows and not self._blocked_until:
            return 0
        source = source_of(address)
        if not self._local.test(TOKENS, source):
            return _seconds_until(self._local.get_window_stats(TOKENS, source).reset_time)
        until = self._blocked_until.get(source, 0.0)
        return _seconds_until(until) if until > time.time() else 0

    def count_failure(self, address: str) -> None:
        """Count a wrong token from this address."""
        source = source_of(address)
        self._local.hit(TOKENS, source)
        for shared in self._redis():
            try:
                if not shared.hit(TOKENS, source):
                    if len(self._blocked_until) >= MAX_BLOCKED:
                        self._blocked_until.clear()
                    reset_at = shared.get_window_stats(TOKENS, source).reset_time
                    self._blocked_until[source] = reset_at
            except Exception as error:  # any error of Redis's client
                self._rest(error)

    def sign_in_wait(self, address: str, account: str, *, is_known_here: bool) -> int:
        """Seconds until the next sign-in attempt is allowed; 0: now.

        ``is_known_here``: the account has signed in from this address before, so failures from other addresses
        don't count here.
        """
        counts: list[tuple[RateLimitItem, str]] = [(SIGN_INS, source_of(address))]
        if not is_known_here:
            counts.append((ACCOUNT, _key(account)))
        return max(self._wait(item, key) for item, key in counts)

    def is_account_guessed(self, account: str) -> bool:
        """Whether an account has reached its limit of failed sign-ins."""
        return self._wait(ACCOUNT, _key(account)) > 0

    def count_failed_sign_in(self, address: str, account: str) -> None:
        """Count a wrong password."""
        for item, key in ((SIGN_INS, source_of(address)), (ACCOUNT, _key(account))):
            for limiter in [self._local, *self._redis()]:
                try:
                    limiter.hit(item, key)
                except Exception as error:
                    self._rest(error)

    def _wait(self, item: RateLimitItem, key: str) -> int:
        # Locally as well, so that the limits hold while Redis is away.
        for limiter in [self._local, *self._redis()]:
            try:
                if not limiter.test(item, key):
                    return _seconds_until(limiter.get_window_stats(item, key).reset_time)
            except Exception as error:
                self._rest(error)
        return 0

    def _rest(self, error: Exception) -> None:
        # Not every failed authentication should wait for the timeout of a server that does not respond.
        self._resting_until = time.monotonic() + REST_SECONDS
        log.warning(
            "Redis is not available (%s); failed authentication is counted in this process only",
            type(error).__name__,
        )

    def _redis(self) -> list[FixedWindowRateLimiter]:
        """The limiter in Redis; empty while Redis is not available."""
        if time.monotonic() < self._resting_until:
            return []
        try:
            if self._shared is None:
                client = connect(self._url, timeout_seconds=1.0)
                storage = RedisStorage(
                    self._url,
                    connection_pool=client.connection_pool,
                    key_prefix=self._key_prefix,
                )
                self._shared = FixedWindowRateLimiter(storage)
        except Exception as error:
            self._rest(error)
            return []
        return [self._shared]


@lru_cache(maxsize=1_000)
def source_of(address: str) -> str:
    """The key by which an address is counted: for IPv6 its /64 network, since one sender usually has all of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:100]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _key(account: str) -> str:
    # A hash: input of a fixed length, which is not readable in Redis.
    return hashlib.sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _seconds_until(reset_time: float) -> int:
    return max(1, int(reset_time - time.time()) + 1)
