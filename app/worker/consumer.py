"""Huey's consumer around the kernel: Huey gives threads, signals and health checks, the kernel jobs."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

from flask import Flask
from huey import Huey
from huey.consumer import Consumer, Scheduler

from app import garbage, logs
from app.config import ConfigError
from app.worker import leave
from app.worker.kernel import TICK_SECONDS, Kernel

log = logging.getLogger(__name__)

#: After the kernel has stopped: for exit hooks, and threads that handlers left running.
LEAVE_SECONDS = 1.5


class SweeperScheduler(Scheduler):
    """Huey's scheduler thread runs the sweeper: it has no tasks of its own to schedule."""

    process_name = "Sweeper"

    def initialize(self) -> None:
        self.huey.kernel.app.app_context().push()

    def loop(self, now: Any = None) -> None:
        self.huey.kernel.sweeper.run_due()
        self.stop_flag.wait(self.huey.kernel.sweeper.pause_seconds(TICK_SECONDS * 2))

    def shutdown(self) -> None:
        self.huey.kernel.sweeper.stop()


class JobConsumer(Consumer):
    """``huey_consumer app.worker.huey -w 5 -k thread -g TERM -t 25``"""

    scheduler_class = SweeperScheduler

    def __init__(self, huey: JobHuey, **options: Any) -> None:
        if options.get("worker_type", "thread") != "thread":
            raise ConfigError(
                "Run huey_consumer with -k thread; other worker types are not supported."
            )
        super().__init__(huey, **options)
        self.kernel = huey.kernel = Kernel(huey.app, threads=self.workers)
        if (drain_seconds := self.kernel.settings.drain_seconds) is not None:
            self.shutdown_timeout = drain_seconds
        # Every signal stops gracefully; only the time allowed differs.
        self._signal_actions[signal.SIGINT] = (False, True)
        self._signal_actions[signal.SIGTERM] = (False, True)

    def start(self) -> None:
        self.kernel.start()
        super().start()
        garbage.exempt_start()

    def _handle_signal(self, signum: int, frame: Any) -> None:
        super()._handle_signal(signum, frame)
        # To Huey a second signal means "stop now", as Ctrl-C twice does. Platforms may send SIGTERM twice, to the
        # process and to its group, and mean it once.
        if signum == signal.SIGTERM:
            signal.signal(signum, signal.SIG_IGN)

    def run(self) -> None:
        super().run()
        # Limits how long exit hooks, and threads and executors that handlers left running, can delay the exit.
        leave.within(LEAVE_SECONDS)

    def stop(self, graceful: bool = False) -> None:
        try:
            self.kernel.begin_stop(self.shutdown_timeout)
            super().stop(graceful)
        except KeyboardInterrupt:
            log.warning("Stopping now")
        finally:
            # Endings are still written, unfinished attempts released.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.kernel.finish_stop()

    def check_worker_health(self) -> bool:
        started = time.monotonic()
        is_healthy: bool = super().check_worker_health()
        if not is_healthy:
            log.error("A worker thread died and was replaced")
        log.debug("Health check took %.3f s", time.monotonic() - started)
        return is_healthy


class JobHuey(Huey):
    """Huey whose tasks are jobs: dequeue returns a claimed job, execute runs one attempt of it."""

    app: Flask
    kernel: Kernel  # made by the consumer, which knows the number of threads

    def create_consumer(self, **options: Any) -> JobConsumer:
        own = {"app.worker.run_job"}
        foreign = set(self._registry._registry) - own
        if foreign or self._registry._periodic_tasks:
            names = ", ".join(sorted(foreign)) or "periodic tasks"
            raise ConfigError(
                f"{names}: this Huey runs jobs only; register handlers with @job from app.jobs."
            )
        # huey_consumer has just given its logger a handler.
        for handler in logging.getLogger("huey").handlers:
            handler.setFormatter(logs.formatter(self.app.extensions["settings"]))
        return JobConsumer(self, **options)

    def dequeue(self) -> Any:
        return self.kernel.next()

    def execute(self, task: Any, timestamp: Any = None) -> None:
        self.kernel.run(task)
