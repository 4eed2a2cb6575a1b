"""One process of a deployment leads; another replaces it when it dies, stops, or its duties fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from app.broker.client import connect
from app.broker.keys import Keys
from app.broker.ready_set import ReadySet
from app.jobs import pulses
from app.worker.sweeper.leader import LEASE_ROUNDS, Leader, round_seconds
from tests.support.proxy import Proxy
from tests.support.racing import race

DEPLOYMENT = "shop (1f2e3d4c)"
KEY = Keys().leader(DEPLOYMENT)


class Time:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def make(ready: ReadySet, settings: Any, time: Time) -> Callable[..., Leader]:
    """A process that may lead."""

    def make(ready: ReadySet = ready, deployment: str = DEPLOYMENT) -> Leader:
        return Leader(ready, lambda: deployment, settings, monotonic=time)

    return make


@pytest.fixture
def next_round(time: Time, settings: Any) -> Callable[[], None]:
    def next_round() -> None:
        time.now += round_seconds(settings)

    return next_round


def test_of_many_processes_one_leads(make: Any) -> None:
    processes = [make() for _ in range(5)]

    leading = race(*[process.is_ours for process in processes])

    assert sorted(leading) == [False] * 4 + [True]


def test_a_leader_renews_its_lease_once_a_round(
    make: Any, redis: Redis, next_round: Any, settings: Any
) -> None:
    leader = make()
    assert leader.is_ours()
    redis.persist(KEY)
    assert leader.is_ours()
    assert redis.pttl(KEY) == -1  # not asked

    next_round()

    assert leader.is_ours()
    assert 0 < redis.pttl(KEY) <= 1000 * LEASE_ROUNDS * round_seconds(settings)


def test_when_a_lease_ends_another_process_leads(make: Any, redis: Redis, next_round: Any) -> None:
    first, second = make(), make()
    assert (first.is_ours(), second.is_ours()) == (True, False)

    redis.delete(KEY)  # as Redis does at its end
    next_round()

    assert (second.is_ours(), first.is_ours()) == (True, False)


def test_a_leader_that_resigns_leaves_no_gap(make: Any, next_round: Any) -> None:
    first, second = make(), make()
    assert (first.is_ours(), second.is_ours()) == (True, False)
    first.resign()
    next_round()
    assert second.is_ours()
    first.resign()  # leaves the lease of another process alone
    second.resign()
    second.resign()
    assert make().is_ours()


def test_a_leader_whose_duties_fail_lets_another_lead(
    make: Any, redis: Redis, next_round: Any
) -> None:
    first, second = make(), make()
    assert (first.is_ours(), second.is_ours()) == (True, False)
    redis.persist(KEY)

    for _ in range(2):
        next_round()
        assert first.is_ours(is_healthy=False)
        assert redis.pttl(KEY) == -1  # not renewed
    next_round()
    assert not first.is_ours(is_healthy=False)
    redis.delete(KEY)

    assert second.is_ours()
    next_round()
    assert not first.is_ours(is_healthy=False)


def test_a_failing_process_still_leads_if_there_is_no_other(
    make: Any, redis: Redis, next_round: Any
) -> None:
    only = make()
    assert only.is_ours()
    redis.delete(KEY)

    leads = []
    for _ in range(20):
        next_round()
        leads.append(only.is_ours(is_healthy=False))

    # Two rounds until the lease ends, a round for others, then a minute without a pause.
    assert leads == [True, True, False, *[True] * 17]


def test_while_redis_is_down_every_process_leads(
    make: Any, redis_proxy: Proxy, next_round: Any
) -> None:
    away = ReadySet(connect(redis_proxy.url, timeout_seconds=0.25))
    first, second = make(away), make(away)
    assert (first.is_ours(), second.is_ours()) == (True, False)

    redis_proxy.cut()
    next_round()
    assert (first.is_ours(), second.is_ours()) == (True, True)

    redis_proxy.mend()
    next_round()
    assert (first.is_ours(), second.is_ours()) == (True, False)


def test_each_deployment_has_a_leader(make: Any) -> None:
    assert [make(deployment=name).is_ours() for name in ("a", "b", "a")] == [True, True, False]


@pytest.mark.parametrize("value", ["text", "hash", "hash that ends"])
def test_a_foreign_value_of_the_key_is_replaced(make: Any, redis: Redis, value: str) -> None:
    if value == "text":
        redis.set(KEY, "text")
    else:
        redis.hset(KEY, "field", "value")
    if value == "hash that ends":
        redis.expire(KEY, 60)

    assert make().is_ours()
    assert not make().is_ours()


@pytest.mark.parametrize("lease", [1.0, 2.0, 3.0, 30.0, 3600.0])
@pytest.mark.parametrize("heartbeat", [0.1, 0.5])
def test_a_change_of_leader_is_no_gap_between_two_pulses(
    settings: Any, lease: float, heartbeat: float
) -> None:
    changed = replace(
        settings, lease_seconds=lease, heartbeat_seconds=heartbeat * lease, sweep_seconds=2.0
    )
    longest = (LEASE_ROUNDS + 1) * round_seconds(changed) + pulses.beat_seconds(changed)
    # Even if rescue was about to run when the leader died.
    assert longest < 1.1 * pulses.gap_seconds(changed)
