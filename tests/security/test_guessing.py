"""Limits on guessing passwords and tokens: by address, IPv6 network and account, across processes."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import Any

import pytest

from app.security.rate_limits import RateLimits, source_of
from tests.security.conftest import PASSWORDS

RIGHT = PASSWORDS["ada"][0]


def attempt(app: Any, address: str, name: str = "ada", password: str = "wrong guess") -> int:
    app.config["WTF_CSRF_ENABLED"] = False
    answer = app.test_client().post(
        "/sign-in",
        data={"name": name, "password": password},
        environ_base={"REMOTE_ADDR": address},
    )
    if answer.status_code == 429:
        assert int(answer.headers["Retry-After"]) > 0
    status: int = answer.status_code
    return status


def test_an_ipv6_network_counts_as_one_address(closed: Any) -> None:
    statuses = [attempt(closed, f"2001:db8:1:2::{n:x}", name=f"user{n}") for n in range(11)]
    assert statuses == [422] * 10 + [429]
    assert attempt(closed, "2001:db8:1:3::1") == 422


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", "unix:"),
        ("x" * 1000, "x" * 100),
    ],
)
def test_the_source_of_an_address(address: str, source: str) -> None:
    assert source_of(address) == source


def test_guesses_at_an_account_are_limited_across_all_addresses(make: Any) -> None:
    one, other = make(), make()
    statuses = [attempt((one, other)[n % 2], f"198.51.100.{n}") for n in range(101)]
    assert statuses == [422] * 100 + [429]
    # The right password would be a guess as well; others are not affected.
    assert attempt(one, "203.0.113.1", password=RIGHT) == 429
    assert attempt(one, "203.0.113.1", name="bob", password=PASSWORDS["bob"][0]) == 303


def test_an_account_is_not_blocked_at_an_address_where_it_signed_in_before(closed: Any) -> None:
    assert attempt(closed, "203.0.113.9", password=RIGHT) == 303
    for n in range(100):
        attempt(closed, f"198.51.100.{n}")
    assert attempt(closed, "198.51.100.200", password=RIGHT) == 429
    assert attempt(closed, "203.0.113.9", password=RIGHT) == 303


def test_only_failures_count(closed: Any) -> None:
    # An office behind one address.
    assert {attempt(closed, "192.0.2.1", password=RIGHT) for _ in range(15)} == {303}
    statuses = [attempt(closed, "192.0.2.1") for _ in range(11)]
    assert statuses == [422] * 10 + [429]


def tokens(app: Any, address: str, n: int) -> list[int]:
    client = app.test_client()
    return [
        client.get(
            "/api/jobs",
            headers={"Authorization": f"Bearer guess-{k}"},
            environ_base={"REMOTE_ADDR": address},
        ).status_code
        for k in range(n)
    ]


def test_wrong_tokens_are_counted_across_processes(make: Any) -> None:
    one, other = make(), make()
    assert set(tokens(one, "192.0.2.1", 60)) == {401}
    # 40 are left; one more is what it takes the other process to learn of the first's.
    assert tokens(other, "192.0.2.1", 43)[-1] == 429
    assert tokens(one, "192.0.2.1", 2)[-1] == 429
    assert tokens(make(), "192.0.2.1", 2) == [401, 429]
    assert tokens(one, "192.0.2.2", 1) == [401]


def test_wrong_tokens_from_an_ipv6_network_are_counted_together(closed: Any) -> None:
    for n in range(100):
        tokens(closed, f"2001:db8::{n:x}", 1)
    assert tokens(closed, "2001:db8::ffff", 1) == [429]


def test_wrong_tokens_are_limited_without_redis(make: Any) -> None:
    app = make(REDIS_URL="redis://127.0.0.1:1/0")
    assert tokens(app, "192.0.2.1", 101)[-1] == 429


def test_a_silent_redis_delays_only_the_first_guess(make: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        app = make(REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        assert set(tokens(app, "192.0.2.1", 20)) == {401}
        assert {attempt(app, "192.0.2.1") for _ in range(5)} == {422}
        # One second each, without a rest: 20 and 20.
        assert time.monotonic() - started < 5


def test_a_redis_that_refuses_connections_does_not_delay_sign_in(app: Any) -> None:
    """redis-py's default client retries for 4 s; ours takes 2 ms."""
    settings = replace(app.extensions["settings"], redis_url="redis://127.0.0.1:1/0")

    def seconds() -> float:
        limits = RateLimits(settings)
        started = time.monotonic()
        assert limits.sign_in_wait("192.0.2.1", "ada", is_known_here=False) == 0
        limits.count_failed_sign_in("192.0.2.1", "ada")
        return time.monotonic() - started

    assert min(seconds() for _ in range(3)) < 0.5
