"""How often: failed sign-ins by address and by account, wrong tokens by address, requests by caller."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter

from app.broker.client import connect
from app.config import Settings

log = logging.getLogger(__name__)

SIGN_INS = RateLimitItemPerMinute(10, 5, namespace="sign-in")  # 10 in 5 minutes and address
ACCOUNT = RateLimitItemPerHour(100, namespace="account")  # whatever the address
TOKENS = RateLimitItemPerMinute(100, namespace="token")

#: Redis is left alone for so long after it failed to answer.
REST_SECONDS = 5.0


class RateLimits:
    """Counts. Failures to prove who one is are shared over Redis, or kept here while Redis is away."""

    def __init__(self, settings: Settings) -> None:
        self._here = FixedWindowRateLimiter(MemoryStorage())
        self._url = settings.redis_url
        self._key_prefix = f"{settings.redis_prefix}{{jobs}}:limits"
        self._shared: FixedWindowRateLimiter | None = None
        limit = settings.api_rate_limit
        self._api = RateLimitItemPerMinute(limit, namespace="api") if limit else None
        self._resting_until = 0.0
        self._shut_until: dict[str, float] = {}  # addresses, by what other processes counted

    def take(self, caller: str) -> int:
        """One request; the seconds to wait, 0 when there is room. Per process: it costs no round trip."""
        if self._api is None or self._here.hit(self._api, caller):
            return 0
        return _until(self._here.get_window_stats(self._api, caller).reset_time)

    def is_shut(self, address: str) -> int:
        """Seconds for which an address that showed too many wrong tokens is not listened to.

        Every request asks, so it costs no round trip: what other processes counted is learned with
        the first wrong token that comes here.
        """
        source = source_of(address)
        if not self._here.test(TOKENS, source):
            return _until(self._here.get_window_stats(TOKENS, source).reset_time)
        until = self._shut_until.get(source, 0.0)
        return _until(until) if until > time.time() else 0

    def count_failure(self, address: str) -> None:
        """A wrong token from this address."""
        source = source_of(address)
        self._here.hit(TOKENS, source)
        for shared in self._redis():
            try:
                if not shared.hit(TOKENS, source):
                    if len(self._shut_until) >= 10_000:
                        self._shut_until.clear()
                    reset_at = shared.get_window_stats(TOKENS, source).reset_time
                    self._shut_until[source] = reset_at
            except Exception as error:  # whatever the client of Redis raises
                self._rest(error)

    def sign_in_wait(self, address: str, account: str, *, is_known_here: bool) -> int:
        """Seconds until a try to sign in may be made; 0: now.

        ``is_known_here``: the account has signed in from this address before, so others' guessing
        does not slow it down here.
        """
        counts: list[tuple[RateLimitItem, str]] = [(SIGN_INS, source_of(address))]
        if not is_known_here:
            counts.append((ACCOUNT, _key(account)))
        return max(self._wait(item, key) for item, key in counts)

    def is_account_guessed(self, account: str) -> bool:
        """Whether an account has had so many failures that tries at it have to wait."""
        return self._wait(ACCOUNT, _key(account)) > 0

    def count_failed_sign_in(self, address: str, account: str) -> None:
        """A wrong password."""
        for item, key in ((SIGN_INS, source_of(address)), (ACCOUNT, _key(account))):
            for limiter in [self._here, *self._redis()]:
                try:
                    limiter.hit(item, key)
                except Exception as error:
                    self._rest(error)

    def _wait(self, item: RateLimitItem, key: str) -> int:
        # Here as well, so that Redis's absence opens nothing.
        for limiter in [self._here, *self._redis()]:
            try:
                if not limiter.test(item, key):
                    return _until(limiter.get_window_stats(item, key).reset_time)
            except Exception as error:
                self._rest(error)
        return 0

    def _rest(self, error: Exception) -> None:
        # A server that does not answer must not cost every stranger's request its time-out.
        self._resting_until = time.monotonic() + REST_SECONDS
        log.warning("Failures are counted in this process only: %s", type(error).__name__)

    def _redis(self) -> list[FixedWindowRateLimiter]:
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


def source_of(address: str) -> str:
    """Whom an address belongs to, for counting: of IPv6 the /64, of which anybody has all."""
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
    # Whatever a stranger typed: of one length, and not to be read in Redis.
    return hashlib.sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _until(reset_time: float) -> int:
    return max(1, int(reset_time - time.time()) + 1)
