"""Connecting to Redis: accepted URLs, the least permissions needed, and failover."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import text

from app import config
from app.broker.client import NotPrimary, brief, check_url, connect
from app.broker.keys import Keys
from app.broker.publisher import Publisher
from app.broker.ready_set import ReadySet
from app.jobs import lifecycle, publication
from app.jobs.lifecycle import NewJob
from app.security.rate_limits import RateLimits
from app.worker.sweeper.mirror import mirror_dead_letters
from app.worker.sweeper.reconcile import _ALL_PENDING, reconcile
from app.worker.sweeper.sharing import Registration
from tests import factories
from tests.support.proxy import Proxy
from tests.support.ready_sets import depths
from tests.support.redis_servers import Server, fail_over, replicated, starter

KEYS = Keys()
GUIDE = (Path(__file__).parent.parent / "docs" / "deployment.md").read_text()


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://h/3?client_name=shop&health_check_interval=30",
        "redis://user:p%5Bx%2F%23@h:6379/0?max_connections=10",
        "redis://[::1]:6379/0",
        "rediss://:pw@h:6380/1?ssl_cert_reqs=none",
        "rediss://h?ssl_cert_reqs=required&ssl_check_hostname=false",
        f"rediss://h?ssl_ca_certs={quote(__file__)}",
        "unix:///run/redis/redis.sock?db=2",
        "unix://user:pw@/run/redis.sock",
    ],
)
def test_valid_redis_urls(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:s3cret[x@h/0", "percent-encoded ('[' is %5B"),
        ("redis://:s3cret#x@h/0", "percent-encoded"),
        ("redis://:s3cret/x@h/0", "percent-encoded"),
        ("redis://h :6379/0", "no usable host and port"),
        ("redis://h/abc", "a path that is not a database number"),
        ("redis://h/1/2", "a path that is not a database number"),
        ("redis://h/-1", "a path that is not a database number"),
        ("redis://h?db=abc", "has db=abc"),
        ("redis://h?max_connections=abc", "has max_connections=abc; set it to a whole number of 10"),
        ("redis://h?max_connections=2", "has max_connections=2"),
        ("redis://h?health_check_interval=", "has health_check_interval="),
        ("redis://h?decode_responses=1", "the option 'decode_responses'"),
        ("redis://h?socket_timeout=30", "the option 'socket_timeout'"),
        ("redis://h?retry_on_error=x", "the option 'retry_on_error'"),
        ("redis://h?ssl_cert_reqs=none", "use rediss:// for TLS"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "set it to none, optional or required"),
        ("rediss://h?ssl_ca_certs=/s3cret-not-there", "that file does not exist"),
        ("unix://run/redis.sock", "set it to unix:///run/redis/redis.sock"),
        ("unix://", "has no socket"),
    ],
)  # fmt: skip
def test_invalid_redis_urls_are_refused_in_one_sentence(url: str, expected: str) -> None:
    env = {"DATABASE_URL": "postgresql://u:p@h/n", "REDIS_URL": url}
    with pytest.raises(config.ConfigError) as caught:
        config.load(env)

    message = str(caught.value)
    assert message.startswith("REDIS_URL ")
    assert expected in message
    assert "s3cret[" not in message
    assert "s3cret#" not in message
    assert "\n" not in message


def test_the_error_for_a_self_signed_certificate_has_a_remedy() -> None:
    error = RedisError(
        "Error 1 connecting to h:6380. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
        "self-signed certificate in certificate chain (_ssl.c:1006)."
    )
    assert "?ssl_cert_reqs=none" in brief(error)


# ------------------------------------------------------------------------- servers of their own


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    with starter(tmp_path) as start:
        yield start


def test_a_unix_socket_works_like_tcp(
    make_server: Any, app: Any, session: Any, settings: Any
) -> None:
    server = make_server()
    settings = replace(settings, redis_url=f"unix://{server.socket}?db=1")
    publisher = Publisher(settings.redis_url, settings.redis_prefix)
    [job] = lifecycle.enqueue(session, [NewJob("echo")])
    session.commit()

    publisher.probe()
    assert publisher.publish([ref_of(session, job.id)]) is True
    assert publisher.ready.pop(["default"], 1)[0] == [job.id.hex]
    RateLimits(settings).count_failed_sign_in("192.0.2.1", "ada")
    assert Redis.from_url(server.url.replace("/0", "/1")).keys("*limits*")


@pytest.fixture
def settings(app: Any) -> Any:
    return app.extensions["settings"]


def ref_of(session: Any, job_id: Any) -> Any:
    row = session.connection().execute(_ALL_PENDING).one()
    assert row.id == job_id
    return publication.ref(row)


# ------------------------------------------------------------------------------------ failover


@pytest.fixture
def pair(make_server: Any) -> tuple[Server, Server, Proxy]:
    return replicated(make_server)


COMMANDS: dict[str, Callable[[ReadySet], Any]] = {
    "publish": lambda ready: ready.publish([factories_ref()]),
    "publish many": lambda ready: ready.publish([factories_ref(), factories_ref()]),
    "pop": lambda ready: ready.pop(["default"], 1),
    "pop blocking": lambda ready: ready.pop_blocking(["default"], 0.1),
    "epoch": lambda ready: ready.set_epoch(),
    "mirror": lambda ready: ready.client.rpush(KEYS.dead_letters, "x"),
}


def factories_ref() -> Any:
    from app.broker.refs import Ref
    from app.jobs.ids import new_id

    return Ref(new_id(), "default", 0, 1_800_000_000_000, True)


@pytest.mark.parametrize("command", COMMANDS)
def test_connections_to_a_demoted_server_are_closed_at_the_first_refusal(
    pair: Any, command: str
) -> None:
    primary, replica, address = pair
    ready = ReadySet(connect(address.url, timeout_seconds=5))
    pool = ready.client.connection_pool
    pipes = [pool.get_connection() for _ in range(3)]
    for pipe in pipes:
        pool.release(pipe)  # idle ones, all to the old server
    COMMANDS[command](ready)
    fail_over(primary, replica, address)

    with pytest.raises(NotPrimary, match="does not accept writes"):
        COMMANDS[command](ready)
    COMMANDS[command](ready)

    assert ready.client.info("replication")["role"] == "master"


@pytest.mark.parametrize("answer", [
    "-READONLY You can't write against a read only replica.",
    "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "-LOADING Redis is loading the dataset in memory",
    "-MOVED 3999 127.0.0.1:6381",
    "-CLUSTERDOWN The cluster is down",
    "-NOREPLICAS Not enough good replicas to write.",
    "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "-ERR Error running script (call to f_1): @user_script:2: -READONLY You can't write",
])  # fmt: skip
def test_each_error_of_a_server_that_is_not_the_primary_closes_the_connection(
    answer: str,
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        client = connect(f"redis://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=2)
        made = client.connection_pool.make_connection()
        made._sock = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
        made._parser.on_connect(made)
        peer.sendall(answer.encode() + b"\r\n")

        with pytest.raises(RedisError):
            made.read_response()

        assert not made.is_connected


def test_web_worker_mirror_and_limits_follow_the_primary(
    pair: Any, app: Any, session: Any, settings: Any, monkeypatch: Any
) -> None:
    primary, replica, address = pair
    settings = replace(settings, redis_url=address.url)
    publisher, rates = Publisher(settings.redis_url, settings.redis_prefix), RateLimits(settings)
    ready = ReadySet(connect(address.url, timeout_seconds=5))
    registration, mirror = duties(engine_of(session), ready)
    for _ in range(2):  # each holds a connection to the old server
        publisher.probe()
        rates.count_failed_sign_in("192.0.2.1", "ada")
        mirror()
    fail_over(primary, replica, address)
    factories.failed_job()
    [job] = lifecycle.enqueue(session, [NewJob("echo")])
    session.commit()
    ref = ref_of(session, job.id)

    def work() -> None:
        for one in (publisher, rates):
            monkeypatch.setattr(one, "_resting_until", 0.0)
        publisher.publish([ref])
        rates.count_failed_sign_in("192.0.2.2", "ada")
        for duty in (
            registration.register,
            mirror,
            lambda: reconcile(engine_of(session), ready),
        ):
            try:
                duty()
            except NotPrimary:
                duty()

    work()
    work()

    assert replica.client.zcard(KEYS.ready("default")) == 1
    assert replica.client.llen(KEYS.dead_letters) == 1
    assert replica.client.keys("*limits*192.0.2.2*")
    assert ready.is_epoch_current()


def duties(engine: Any, ready: ReadySet) -> tuple[Registration, Callable[[], int]]:
    """The registration of this deployment, and one round of the mirror of dead letters."""
    registration = Registration(engine, ready)
    return registration, lambda: mirror_dead_letters(engine, ready, registration.identity())


def engine_of(session: Any) -> Any:
    return session.get_bind()


# ---------------------------------------------------------------------------------- least rights


def acl_of_guide() -> list[str]:
    [line] = re.findall(r"^ *ACL SETUSER jobs on >password (.*)$", GUIDE, re.MULTILINE)
    return line.split()


@pytest.fixture(params=["with INFO", "without INFO", "with a prefix"])
def limited(request: Any, make_server: Any, settings: Any) -> Any:
    """Settings of a Redis user who has the rights that docs/deployment.md names, and no others."""
    server, rules, prefix = make_server(), acl_of_guide(), ""
    if request.param == "without INFO":
        rules = [rule for rule in rules if rule != "+info"]
    if request.param == "with a prefix":
        prefix = "shop:"
        rules = ["~shop:*", *[rule for rule in rules if not rule.startswith("~")]]
    server.client.execute_command("ACL", "SETUSER", "jobs", "on", ">password", *rules)
    url = f"redis://jobs:password@127.0.0.1:{server.port}/0"
    return replace(settings, redis_url=url, redis_prefix=prefix), server


def test_the_documented_redis_permissions_are_sufficient(
    limited: Any, app: Any, session: Any, monkeypatch: Any
) -> None:
    settings, server = limited
    publisher, engine = Publisher(settings.redis_url, settings.redis_prefix), engine_of(session)
    monkeypatch.setitem(app.extensions, "publisher", publisher)
    ready = ReadySet(connect(settings.redis_url, timeout_seconds=5), settings.redis_prefix)
    registration, mirror = duties(engine, ready)
    factories.failed_job()
    later, due = lifecycle.enqueue(
        session,
        [NewJob("echo", delay_seconds=60), NewJob("echo")],
    )
    session.commit()

    registration.register()
    assert reconcile(engine, ready) == 2  # nothing was published to this server yet
    assert reconcile(engine, ready) == 0
    assert mirror() == 1
    assert depths(publisher.ready) == {"default": 1, "delayed": 1}
    ready.pass_on([later.id])
    assert later.id.hex in ready.passed_on()
    ready.take_over([later.id])
    assert ready.pop_blocking(["default"], 1) == due.id.hex
    RateLimits(settings).count_failed_sign_in("192.0.2.1", "ada")

    assert server.client.keys("*limits*")

    server.client.flushall()
    session.execute(text("UPDATE jobs SET run_at = now() - interval '18 s'"))
    session.commit()
    assert reconcile(engine, ready) == 2
    assert mirror() == 1
    server.client.delete(ready.keys.queues)
    server.client.hset(ready.keys.queues, "foreign", "type")
    publisher.ready.publish(list(map(publication.ref, pending(session))))
    assert ready.queues() == ["default"]
    ready.forget_epoch()
    assert reconcile(engine, ready) == 2

    result = app.test_cli_runner().invoke(args=["doctor"])
    assert "critical" not in result.output, result.output
    assert "ok       Redis:" in result.output


def pending(session: Any) -> Any:
    return session.connection().execute(_ALL_PENDING).all()


@pytest.mark.parametrize("refused", ["-@scripting", "-del", "-type", "-zrange", "-sadd"])
def test_missing_redis_permissions_are_named(
    refused: str, make_server: Any, app: Any, session: Any, settings: Any, monkeypatch: Any,
) -> None:  # fmt: skip
    server = make_server()
    rules = [*acl_of_guide(), refused]
    server.client.execute_command("ACL", "SETUSER", "jobs", "on", ">password", *rules)
    url = f"redis://jobs:password@127.0.0.1:{server.port}/0"
    publisher = Publisher(url, settings.redis_prefix)
    monkeypatch.setitem(app.extensions, "publisher", publisher)
    lifecycle.enqueue(session, [NewJob("echo")])

    session.commit()  # stored, whatever Redis refuses

    result = app.test_cli_runner().invoke(args=["doctor"])
    assert "Traceback" not in result.output
    assert result.exit_code in ((1, 2) if refused != "-del" else (0, 1))
    if refused in ("-type", "-zrange"):
        assert "docs/deployment.md" in result.output
