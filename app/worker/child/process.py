"""The child process of one isolated attempt: runs the handler as a thread of the worker would.

It sends the worker each report at once and its Ending at the end, and receives cancel requests. The child exits when
the pipe breaks or the fork server dies: the worker is gone then, and another one may run the job.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from app import logs
from app.config import Settings
from app.jobs import registry
from app.jobs.context import Context
from app.jobs.control_flow import CANCEL_REQUESTED, Cancel
from app.jobs.ending import Ending
from app.worker import attempt
from app.worker.child import messages
from app.worker.child.interrupts import Interrupts
from app.worker.handler_session import close_session
from app.worker.inbox import Claimed

PROGRESS_SECONDS = 0.1
LISTEN_SECONDS = 0.25
_PR_SET_PDEATHSIG = 1


def main(pipe: Any, job: Claimed, settings: Settings) -> None:
    """Run one attempt of ``job`` and end the process."""
    _die_with_the_fork_server()
    os.setpgid(0, 0)  # what the handler starts ends with it
    _wait_for_go(pipe)
    worker = _Worker(pipe)
    try:
        ending = _attempt(job, settings, worker)
        worker.send(messages.ENDING, messages.ending_as_json(ending))
    except BaseException as error:  # not of the handler: the application could not be created
        logging.getLogger("app.jobs").exception("A child process could not run its job")
        with suppress(Exception):
            worker.send(messages.UNUSABLE, f"{type(error).__name__}: {error}")
    finally:
        with suppress(Exception):
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        # Threads that the handler left running would keep the process alive, and programs would outlive it.
        os.killpg(0, signal.SIGKILL)


def _die_with_the_fork_server() -> None:
    # multiprocessing gives every child a copy of the descriptor that keeps the fork server alive. Once it is closed,
    # the server ends with the worker, and this child with the server. Systems other than Linux rely on the pipe alone.
    server: Any = forkserver._forkserver
    alive_fd = getattr(server, "_forkserver_alive_fd", None)
    if alive_fd is not None:
        with suppress(OSError):
            os.close(alive_fd)
        server._forkserver_alive_fd = None
    if sys.platform == "linux":
        with suppress(Exception):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    preloaded = sys.modules.get("app.worker.child.fork_server")
    if preloaded is not None and os.getppid() != preloaded.PID:
        os._exit(1)


def _wait_for_go(pipe: Connection) -> None:
    # The worker may have given up this start, and started another child for the same attempt.
    try:
        pipe.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


class _Worker:
    """The connection of a child to its worker."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self.interrupts = Interrupts()
        self.context: ChildContext | None = None

    def send(self, kind: str, *facts: Any) -> None:
        message = json.dumps([kind, *facts]).encode()
        with self.interrupts.held(), self._lock:
            self._pipe.send_bytes(message)

    def listen(self) -> None:
        """Runs in a thread: handles the worker's messages, and ends this process when the worker is gone."""
        try:
            while True:
                if self._pipe.poll(LISTEN_SECONDS):
                    self._handle(self._pipe.recv_bytes().decode())
                elif self.context is not None:
                    self.context.flush()
        except (EOFError, OSError):
            os._exit(1)

    def _handle(self, word: str) -> None:
        if self.context is not None:
            self.context.request_cancel()
        if word == messages.INTERRUPT:
            self.interrupts.throw(Cancel(CANCEL_REQUESTED))


class ChildContext(Context):
    """A Context that sends log lines to the worker at once, so that they survive the child."""

    __slots__ = ("_sent_at", "_worker")

    _worker: _Worker
    _sent_at: float

    def log(self, message: object, level: str = "info") -> None:
        with self._worker.interrupts.held():
            super().log(message, level)
            self.flush()

    def progress(self, percent: float, note: str = "") -> None:
        with self._worker.interrupts.held():
            super().progress(percent, note)
            if time.monotonic() - self._sent_at >= PROGRESS_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Send what was buffered."""
        progress, lines = self.drain()
        if progress is not None or lines:
            self._sent_at = time.monotonic()
            self._worker.send(messages.REPORT, progress, messages.lines_as_json(lines))


def _attempt(job: Claimed, settings: Settings, worker: _Worker) -> Ending:
    from app import create_app  # the top layer, which only entry points import

    app = create_app(settings, serves_web=False)
    logs.configure(settings)
    with (
        app.app_context(),
        logs.during(jobId=str(job.id), jobType=job.type, attempt=job.attempt),
    ):
        job_type = registry.find(job.type)
        if job_type is None:
            return attempt.refused(job, settings, attempt.unknown_type(job.type))
        context = attempt.make_context(job, job_type, settings, ChildContext)
        assert isinstance(context, ChildContext)
        context._worker, context._sent_at = worker, float("-inf")
        worker.context = context
        threading.Thread(target=worker.listen, name="Listener", daemon=True).start()

        def call() -> Any:
            worker.send(messages.STARTED)
            try:
                return worker.interrupts.call(
                    lambda: job_type.run(job.payload, context), context.remaining()
                )
            finally:
                worker.send(messages.RETURNED)

        ending = attempt.judge(job, job_type, settings, call)
        close_session()
        attempt.add_reports(ending, context)
        return ending
