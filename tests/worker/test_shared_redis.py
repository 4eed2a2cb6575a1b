"""Two deployments with databases of their own on one Redis."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from redis import Redis
from sqlalchemy import Engine, create_engine, text

from app import config
from app.broker.keys import Keys
from app.broker.ready_set import ReadySet
from app.broker.refs import Ref
from app.jobs import dead_letter_mirror
from app.jobs.deployment import identity
from app.worker.sweeper.mirror import mirror_dead_letters
from app.worker.sweeper.promote import promote_due_jobs
from app.worker.sweeper.sharing import Offers, Registration
from tests import factories
from tests.support import services
from tests.support.ready_sets import depths

KEYS = Keys()
_INSERT = text("""
INSERT INTO jobs (id, queue, type, payload, run_at)
VALUES (gen_random_uuid(), 'default', 'act', '{}', now() + make_interval(secs => :delay))
RETURNING id, (extract(epoch FROM run_at) * 1000)::bigint AS run_at_ms
""")


class Other:
    """A deployment beside ours: an own database, the same Redis."""

    def __init__(self, engine: Engine, redis: Redis) -> None:
        self.engine = engine
        self.ready = ReadySet(redis)
        self.offers = Offers(engine, self.ready)
        self.registration = Registration(engine, self.ready)

    def enqueue(self, delay: float = 0) -> UUID:
        with self.engine.begin() as db:
            row = db.execute(_INSERT, {"delay": delay}).one()
        self.ready.publish([Ref(row.id, "default", 0, row.run_at_ms, delay <= 0)])
        job_id: UUID = row.id
        return job_id


@pytest.fixture(scope="module")
def other_engine(database_url: str, worker_id: str) -> Iterator[Engine]:
    url = services.clone_template(f"jobqueue_other_{worker_id}")
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    yield engine
    engine.dispose()


@pytest.fixture
def other(other_engine: Engine, redis: Redis, session: Any) -> Iterator[Other]:
    yield Other(other_engine, redis)
    with other_engine.begin() as db:
        db.execute(text("TRUNCATE jobs CASCADE"))


def test_an_id_that_our_database_does_not_know_reaches_its_owner(
    other: Other, make_inbox: Any, redis: Redis
) -> None:
    theirs = other.enqueue()
    assert make_inbox().next() is None  # ours took it
    assert redis.zcard(KEYS.ready("default")) == 0

    assert other.offers.take_own() == 1

    assert other.ready.pop(["default"], 10)[0] == [theirs.hex]
    assert redis.zcard(KEYS.unknown) == 0


def test_a_delayed_id_that_our_database_does_not_know_reaches_its_owner(
    other: Other, engine: Any, ready: ReadySet, clock: Any, redis: Redis
) -> None:
    theirs = other.enqueue()
    redis.delete(KEYS.ready("default"))
    redis.zadd(KEYS.delayed, {theirs.hex: 1})

    assert promote_due_jobs(engine, ready, clock) == 0
    assert redis.zcard(KEYS.delayed) == 0
    other.offers.take_own()

    assert other.ready.pop(["default"], 10)[0] == [theirs.hex]


def test_both_deployments_soon_get_their_own_jobs(
    other: Other, make_inbox: Any, enqueue: Any, engine: Any, ready: ReadySet
) -> None:
    ours = {enqueue() for _ in range(5)}
    theirs = {other.enqueue() for _ in range(5)}
    inbox, offers = make_inbox(), Offers(engine, ready)
    ran_ours, ran_theirs = set(), set()
    who = random.Random(7)

    for _ in range(100):
        offers.take_own()
        other.offers.take_own()
        if not sum(depths(ready).values()):
            break
        if who.random() < 0.5:
            ran_ours |= {job.id} if (job := inbox.next()) else set()
        else:
            [popped] = other.ready.pop(["default"], 1)[0]
            if UUID(popped) in theirs:
                ran_theirs.add(UUID(popped))
            else:
                other.ready.pass_on([popped])

    assert (ran_ours, ran_theirs) == (ours, theirs)


def test_each_deployment_checks_an_offer_once(
    other: Other, ready: ReadySet, engine: Any, monkeypatch: Any
) -> None:
    offers = Offers(engine, ready)
    ready.pass_on([UUID(int=5)])
    asked: list[int] = []
    monkeypatch.setattr(
        "app.worker.sweeper.sharing.autocommit", lambda e: asked.append(1) or e.connect()
    )

    for _ in range(3):
        assert offers.take_own() == 0

    assert len(asked) == 1


def test_offers_expire_and_are_limited(ready: ReadySet, redis: Redis) -> None:
    ready.pass_on(UUID(int=n) for n in range(1500))
    assert redis.zcard(KEYS.unknown) == 1000

    redis.zadd(KEYS.unknown, dict.fromkeys(redis.zrange(KEYS.unknown, 0, -1), 1))
    assert ready.passed_on() == {}
    assert redis.zcard(KEYS.unknown) == 0


def test_databases_have_identities_of_their_own(other: Other, engine: Any) -> None:
    with engine.connect() as ours, other.engine.connect() as theirs:
        names = identity(ours), identity(theirs)
        assert names == (identity(ours), identity(theirs))

    assert names[0] != names[1]
    assert names[1].startswith("jobqueue_other_")


def test_sharing_is_logged_once_by_every_worker(
    other: Other, engine: Any, ready: ReadySet, caplog: Any
) -> None:
    ours = Registration(engine, ready)
    with caplog.at_level(logging.WARNING, "app"):
        ours.register()
        assert not caplog.records
        other.registration.register()
        ours.register()
        ours.register()

    assert len(caplog.records) == 2
    assert "database jobqueue_other_" in caplog.records[1].getMessage()
    assert "REDIS_PREFIX" in caplog.records[1].getMessage()


def test_the_list_of_dead_letters_stays_with_its_deployment(
    other: Other, engine: Any, ready: ReadySet, redis: Redis, app: Any
) -> None:
    ours = Registration(engine, ready)
    ours.register()
    job = factories.failed_job()
    assert mirror_dead_letters(engine, ready, ours.identity()) == 1
    other.registration.register()

    assert dead_letter_mirror.owner(other.ready, other.registration.identity()) == ours.identity()
    redis.delete(KEYS.dead_letters)  # even where it looks lost
    assert dead_letter_mirror.owner(other.ready, other.registration.identity()) == ours.identity()
    assert mirror_dead_letters(engine, ready, ours.identity()) == 0

    redis.set(KEYS.mirrored, other.registration.identity())
    assert mirror_dead_letters(engine, ready, ours.identity()) == 0
    result = app.test_cli_runner().invoke(args=["dlq", "rebuild"])
    assert result.exit_code == 1
    assert "set REDIS_PREFIX" in result.output

    redis.zrem(KEYS.deployments, other.registration.identity())  # it is gone for a minute
    assert mirror_dead_letters(engine, ready, ours.identity()) == 1
    assert json.loads(redis.lindex(KEYS.dead_letters, 0))["jobId"] == str(job.id)


def test_a_list_without_an_owner_is_taken_over(engine: Any, ready: ReadySet, redis: Redis) -> None:
    factories.failed_job()
    redis.set(KEYS.mirrored, 1)

    assert mirror_dead_letters(engine, ready, Registration(engine, ready).identity()) == 1
    assert redis.llen(KEYS.dead_letters) == 1


def test_a_prefix_separates_everything(
    app: Any, test_env: dict[str, str], redis: Redis, session: Any
) -> None:
    from app import create_app

    prefixed = create_app(config.load({**test_env, "REDIS_PREFIX": "shop"}))
    with prefixed.app_context():
        publisher = prefixed.extensions["publisher"]
        publisher.publish([Ref(UUID(int=1), "default", 0, 0, True)])
        publisher.publish([Ref(UUID(int=2), "default", 0, 2**41, False)])
        dead_letter_mirror.rebuild(publisher.ready)
        publisher.ready.register_deployment("x")
        publisher.ready.set_epoch()
        publisher.ready.pass_on([UUID(int=3)])

    keys = {key.decode() for key in redis.keys("*")}
    assert len(keys) > 6
    assert all(key.startswith("shop:") for key in keys), keys


@pytest.mark.parametrize(
    ("value", "prefix"), [("", ""), ("shop", "shop:"), ("shop:eu:", "shop:eu:")]
)
def test_prefixes_end_with_one_colon(value: str, prefix: str, test_env: dict[str, str]) -> None:
    assert config.load({**test_env, "REDIS_PREFIX": value}).redis_prefix == prefix


@pytest.mark.parametrize("value", ["{shop}", "a b", "ä", "x" * 101])
def test_an_invalid_prefix_is_refused(value: str, test_env: dict[str, str]) -> None:
    with pytest.raises(config.ConfigError, match=r"^REDIS_PREFIX must be"):
        config.load({**test_env, "REDIS_PREFIX": value})
