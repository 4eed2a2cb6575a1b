"""``app.worker.huey`` is the import path that huey_consumer is given.

The Huey object is created on first access: the web process imports this package as well and needs none.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.worker.consumer import JobHuey


def __getattr__(name: str) -> Any:
    if name != "huey":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["huey"] = huey = _make_huey()
    return huey


def _make_huey() -> JobHuey:
    from app import config, create_app, logs
    from app.broker.client import connect
    from app.worker.consumer import JobHuey
    from app.worker.kernel import REDIS_TIMEOUT_SECONDS
    from app.worker.storage import JobIdSerializer, ReadySetStorage

    try:
        settings = config.load_for_worker()
        app = create_app(settings)
    except config.ConfigError as error:
        sys.exit(f"Cannot start: {error}")
    logs.configure(settings)
    # Huey's consumer adds a handler of its own: propagated, each line would be logged twice.
    logging.getLogger("huey").propagate = False
    client = connect(settings.redis_url, timeout_seconds=REDIS_TIMEOUT_SECONDS)
    huey = JobHuey(
        "jobs",
        results=False,
        storage_class=ReadySetStorage,
        serializer=JobIdSerializer(),
        connection_pool=client.connection_pool,
        key_prefix=settings.redis_prefix,
    )
    huey.app = app

    @huey.task(name="run_job")
    def run_job(job_id: str) -> None:
        """One job, of which Huey knows only the id."""

    return huey
