"""What huey_consumer runs. ``app.worker.huey`` is the import path people type.

It is made when first asked for: the web imports this package, too, and needs no kernel.
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
    globals()["huey"] = made = _make()
    return made


def _make() -> JobHuey:
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
    # Huey's consumer has its own handler; twice the same line helps nobody.
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
        """A job of the queue, known to Huey by its id only."""

    return huey
