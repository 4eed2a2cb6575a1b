"""The kernel's parts on real Redis and PostgreSQL, in this process, without Huey's threads."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis import Redis
from sqlalchemy import Engine, Row, create_engine, text

from app.broker.ready_set import ReadySet
from app.database import attend, autocommit, engine_options
from app.extensions import db
from app.jobs import lifecycle
from app.jobs.lifecycle import NewJob
from app.jobs.testing import temporary_types
from app.worker.clock import Clock
from app.worker.inbox import Claimed, Inbox
from app.worker.kernel import Kernel
from app.worker.outbox import Outbox
from tests.support.proxy import Proxy
from tests.support.racing import in_thread
from tests.support.ready_sets import depths

with temporary_types():  # its types shall not stay registered for the tests of other folders
    from tests.support import handlers


@pytest.fixture(autouse=True)
def types() -> Iterator[Any]:
    """The job types of tests/support/handlers.py, registered for this test only."""
    with temporary_types() as job:
        importlib.reload(handlers)
        yield job


@pytest.fixture
def ready(redis: Redis) -> ReadySet:
    """The ready and delayed sets, empty."""
    return ReadySet(redis)


@pytest.fixture
def engine(session: Any) -> Engine:
    """The kernel's own."""
    return db.engine


@pytest.fixture
def settings(app: Any) -> Any:
    """The settings of the tests."""
    return app.extensions["settings"]


@pytest.fixture
def clock(engine: Engine) -> Clock:
    """Set to the database's."""
    clock = Clock()
    with autocommit(engine) as connection:
        clock.set(connection.execute(text("SELECT extract(epoch FROM now())::float8")).scalar_one())
    return clock


@pytest.fixture
def enqueue(session: Any, redis: Redis) -> Callable[..., UUID]:
    """``enqueue("act", {"do": "raise"}, priority=5)``: committed and published; its id."""

    def enqueue(type: str = "act", payload: dict[str, Any] | None = None, **columns: Any) -> UUID:
        [new] = lifecycle.enqueue(session, [NewJob(type, payload or {}, **columns)])
        session.commit()
        return new.id

    return enqueue


@pytest.fixture
def enqueue_many(session: Any, redis: Redis) -> Callable[..., list[UUID]]:
    """So many jobs alike, in one transaction; their ids in order."""

    def enqueue_many(count: int, type: str = "act", **columns: Any) -> list[UUID]:
        new = lifecycle.enqueue(session, [NewJob(type, {"n": n}, **columns) for n in range(count)])
        session.commit()
        return [job.id for job in new]

    return enqueue_many


@pytest.fixture
def row(engine: Engine) -> Callable[[UUID], Row[Any]]:
    """The row of a job as it now is."""

    def row(job_id: UUID) -> Row[Any]:
        with autocommit(engine) as connection:
            return connection.execute(
                text("SELECT * FROM jobs WHERE id = :id"), {"id": job_id}
            ).one()

    return row


@pytest.fixture
def rows(engine: Engine) -> Callable[..., list[Row[Any]]]:
    """The rows of any statement: ``rows("SELECT …", id=…)``."""

    def rows(statement: str, **values: Any) -> list[Row[Any]]:
        with autocommit(engine) as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    return rows


@pytest.fixture
def make_inbox(
    ready: ReadySet, engine: Engine, clock: Clock, settings: Any
) -> Callable[..., Inbox]:
    """An inbox; ``released`` of it lists what it gave back."""

    def make_inbox(**options: Any) -> Inbox:
        released: list[Claimed] = []
        inbox = Inbox(
            **{
                "ready": ready,
                "engine": engine,
                "clock": clock,
                "worker_id": uuid4(),
                "queues": (),
                "lease_seconds": settings.lease_seconds,
                "threads": 5,
                "release": released.extend,
                **options,
            }
        )
        inbox.released = released  # type: ignore[attr-defined]
        return inbox

    return make_inbox


@pytest.fixture
def outbox(engine: Engine, app: Any) -> Outbox:
    """Writes to the database and publishes to Redis; counts nothing buried."""
    return Outbox(engine=engine, publish=app.extensions["publisher"].publish, buried=lambda: None)


@pytest.fixture
def claim(engine: Engine) -> Callable[..., list[Claimed]]:
    """Claims the given jobs, in that order."""

    def claim(*ids: UUID, lease_seconds: float = 30) -> list[Claimed]:
        token = uuid4()
        with autocommit(engine) as connection:
            found = lifecycle.claim(
                connection,
                [i.hex for i in ids],
                token=token,
                worker_id=uuid4(),
                lease_seconds=lease_seconds,
            )
        by_id = {row.id: Claimed.of(row, token, 0.0) for row in found}
        return [by_id[i] for i in ids if i in by_id]

    return claim


@pytest.fixture
def make_kernel(app: Any, session: Any, redis: Redis) -> Iterator[Callable[..., Kernel]]:
    """A whole kernel, not started, its settings changed by ``fields``; stopped at the end."""
    original = app.extensions["settings"]
    kernels: list[Kernel] = []

    def make_kernel(**fields: Any) -> Kernel:
        app.extensions["settings"] = replace(original, **fields)
        kernels.append(Kernel(app, threads=5))
        return kernels[-1]

    yield make_kernel
    app.extensions["settings"] = original
    for kernel in kernels:
        kernel.begin_stop()
        kernel.finish_stop()


@pytest.fixture
def kernel(make_kernel: Callable[..., Kernel]) -> Kernel:
    """A whole kernel, not started."""
    return make_kernel()


@pytest.fixture
def run(kernel: Kernel, row: Any, enqueue: Any) -> Callable[..., Row[Any]]:
    """Enqueues a job, runs one attempt of it, and answers with its row."""

    def run(type: str = "act", payload: dict[str, Any] | None = None, **columns: Any) -> Row[Any]:
        job_id = enqueue(type, payload, **columns)
        claimed = kernel.next()
        assert claimed is not None, (row(job_id), depths(kernel.ready))
        assert claimed.id == job_id
        in_thread(lambda: kernel.run(claimed))
        return row(job_id)

    return run


@pytest.fixture
def database_proxy(database_url: str, session: Any) -> Iterator[Proxy]:
    """What ``cut_engine`` goes through."""
    proxy = Proxy(database_url)
    yield proxy
    proxy.close()


@pytest.fixture
def cut_engine(database_proxy: Proxy, settings: Any) -> Iterator[Engine]:
    """An engine like the kernel's whose database can be cut off."""
    url = database_proxy.url.replace("postgresql://", "postgresql+psycopg2://")
    options: Any = engine_options(settings)
    engine = attend(create_engine(url, **options))
    yield engine
    engine.dispose()


@pytest.fixture
def redis_proxy(redis_url: str, redis: Redis) -> Iterator[Proxy]:
    """Redis, to be cut off."""
    proxy = Proxy(redis_url)
    yield proxy
    proxy.close()
