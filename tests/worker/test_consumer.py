"""What huey_consumer makes of us: which options it takes, what it refuses at start."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from app.config import ConfigError
from app.worker.consumer import JobConsumer, JobHuey
from app.worker.storage import JobIdSerializer, ReadySetStorage
from tests.support.services import BIN, ROOT


@pytest.fixture
def huey(app: Any, redis_url: str) -> JobHuey:
    huey = JobHuey(
        "jobs",
        results=False,
        storage_class=ReadySetStorage,
        serializer=JobIdSerializer(),
        url=redis_url,
    )
    huey.app = app
    return huey


def test_only_thread_workers_are_accepted(huey: JobHuey) -> None:
    with pytest.raises(ConfigError, match="-k thread"):
        huey.create_consumer(workers=2, worker_type="process")
    assert isinstance(huey.create_consumer(workers=2), JobConsumer)


def test_the_kernel_has_the_threads_of_the_command_line(huey: JobHuey) -> None:
    consumer = huey.create_consumer(workers=3)

    assert consumer.kernel.threads == 3
    assert consumer.kernel.inbox._pace._threads == 3


def test_tasks_of_huey_are_refused_with_what_to_do(huey: JobHuey) -> None:
    @huey.task(name="tidy")
    def tidy() -> None: ...

    with pytest.raises(ConfigError, match=r"tidy: .*register handlers with @job"):
        huey.create_consumer(workers=2)


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"DATABASE_URL": ""}, "Cannot start: DATABASE_URL is not set"),
        ({"LEASE_SECONDS": "soon"}, "Cannot start: LEASE_SECONDS is 'soon'"),
        ({"JOB_MODULES": "no.such.module"}, "JOB_MODULES names 'no.such.module'"),
    ],
)
def test_a_wrong_setting_stops_the_worker_with_one_sentence(
    test_env: dict[str, str], env: dict[str, str], sentence: str
) -> None:
    done = subprocess.run(
        [BIN / "huey_consumer", "app.worker.huey", "-w", "5", "-k", "thread"],
        cwd=ROOT,
        env={**test_env, **env},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
