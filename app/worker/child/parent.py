"""An attempt in a child process that can be killed: isolate=True, and jobs that crashed a worker.

Children fork from a server process that has imported everything and started no thread: quick to start, and free of our
locks and connections. One attempt each. The worker's thread watches its child itself: it sees the
child's end by its process or its pipe, whichever shows it first, and keeps what it reported until then.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, ClassVar

from app.config import Settings
from app.jobs.context import Context
from app.jobs.ending import Ending
from app.worker.child import forking, messages, process
from app.worker.inbox import Claimed

#: The child interrupts its handler at the deadline; one that can't be (C code that does not return, a
#: signal handler of its own) is killed this much later.
GRACE_SECONDS = 3.0
#: A handler that does not look at a cancel request has Cancel raised in it after this long, and is killed after the same time again.
CANCEL_SECONDS = 3.0
#: From the start of the process to the handler's start, and from the handler's return to the Ending.
BOOT_SECONDS = LEAVE_SECONDS = 60.0
POLL_SECONDS = 0.1
#: For the pipe of a killed child to close. It closes at once unless a process that the handler forked holds it.
PIPE_CLOSE_SECONDS = 1.0
START_TRIES = 3
_HEADER = struct.Struct("!i")  # of multiprocessing's messages


@dataclass(frozen=True, slots=True)
class NoEnding:
    """How a child ended that sent no Ending."""

    how: str
    text: str = ""

    DIED: ClassVar = "died"
    TIMED_OUT: ClassVar = "timed out"
    CANCELLED: ClassVar = "cancelled"
    STOPPED: ClassVar = "stopped"  # with the worker
    NOT_STARTED: ClassVar = "not started"


class Isolation:
    """The children of one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._children: set[_Child] = set()
        self._stopping = threading.Event()

    def run(self, job: Claimed, context: Context, timeout: float | None) -> Ending | NoEnding:
        """The attempt in a child of its own: its Ending, or how it ended without one."""
        child = self._start(job)
        if isinstance(child, NoEnding):
            return child
        try:
            end = _Watch(job, child, context, timeout).until_it_ends()
        finally:
            with self._lock:
                self._children.discard(child)
            child.close()
        is_stopped = self._stopping.is_set() and isinstance(end, NoEnding)
        return NoEnding(NoEnding.STOPPED) if is_stopped else end

    def stop(self) -> None:
        """Kill the children and the fork server: attempts end as stopped, those that are waiting to start included."""
        with self._lock:
            self._stopping.set()
            children = list(self._children)
        for child in children:
            child.kill()
        # It would end with this process, unless it hangs. Another worker in this process starts its own.
        forking.kill()

    def _start(self, job: Claimed) -> _Child | NoEnding:
        reason = ""
        for _ in range(START_TRIES):
            with forking.turn:
                if self._stopping.is_set():
                    return NoEnding(NoEnding.STOPPED)
                try:
                    child = _Child(job, self._settings)
                # The fork server died or hung, and the next try starts another; or no thread could be started.
                except (OSError, EOFError, RuntimeError) as error:
                    reason = f"{type(error).__name__}: {error}".rstrip(": ")
                    continue
            with self._lock:
                self._children.add(child)
                if self._stopping.is_set():
                    child.kill()
            child.send(messages.GO)
            return child
        return NoEnding(NoEnding.NOT_STARTED, f"no child process could be started ({reason})")


class _Child:
    """One child process and the pipe to it."""

    def __init__(self, job: Claimed, settings: Settings) -> None:
        context = get_context("forkserver")
        ours, theirs = context.Pipe()
        # Not a daemon: daemons may have no children, and handlers may start some.
        self._process: Any = context.Process(target=process.main, args=(theirs, job, settings))
        self._process.daemon = False
        try:
            forking.start(self._process)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pipe: Connection = ours
        self._buffer = bytearray()
        self._is_open = True

    def messages(self, seconds: float) -> Iterator[list[Any]]:
        """The messages of the child, after waiting up to ``seconds`` for one or for its end."""
        sources: list[Any] = [self._process.sentinel]
        ready = wait([*sources, self._pipe] if self._is_open else sources, seconds)
        # What it sent is read before its end is judged.
        if self._pipe in ready or self._process.sentinel in ready:
            while self._is_open and wait([self._pipe], 0):
                self._read()
                yield from self._complete_messages()
        yield from self._complete_messages()

    def remaining_messages(self) -> Iterator[list[Any]]:
        """What the child sent before its end and was not read yet. Kills it first, so that nothing follows."""
        self.kill()
        give_up_at = time.monotonic() + PIPE_CLOSE_SECONDS
        while self._is_open and (seconds := give_up_at - time.monotonic()) > 0:
            if wait([self._pipe], seconds):
                self._read()
        yield from self._complete_messages()

    def _read(self) -> None:
        # Never a blocking read of a whole message: a child that dies inside one may have left the pipe to others.
        try:
            data = os.read(self._pipe.fileno(), 1 << 16)
        except OSError:
            data = b""
        self._is_open = bool(data)
        self._buffer += data

    def _complete_messages(self) -> Iterator[list[Any]]:
        while len(self._buffer) >= _HEADER.size:
            (size,) = _HEADER.unpack_from(self._buffer)
            if len(self._buffer) < _HEADER.size + size:
                return
            message = bytes(self._buffer[_HEADER.size : _HEADER.size + size])
            del self._buffer[: _HEADER.size + size]
            yield json.loads(message)

    @property
    def is_gone(self) -> bool:
        """Whether it ended or closed its pipe."""
        return not self._is_open or not self._process.is_alive()

    def exit_text(self) -> str:
        self._process.join(1.0)
        code = self._process.exitcode
        if code is None:
            return "its pipe closed"
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def send(self, word: str) -> None:
        with suppress(OSError):
            self._pipe.send_bytes(word.encode())

    def kill(self) -> None:
        """Send SIGKILL to the child and to what its handler started."""
        with suppress(ValueError, OSError):  # closed or ended meanwhile
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(ValueError, OSError):
            if self._process.is_alive():  # it had no group of its own yet
                os.kill(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Free its resources, after its Ending or its death."""
        self.kill()
        self._process.join(1.0)
        self._pipe.close()
        with suppress(ValueError):
            self._process.close()


class _Watch:
    """Follows one child until it ends, and kills it where necessary."""

    def __init__(
        self, job: Claimed, child: _Child, context: Context, timeout: float | None
    ) -> None:
        self._job = job
        self._child = child
        self._context = context
        self._timeout = timeout
        self._kill_at = time.monotonic() + BOOT_SECONDS
        self._kill_for = NoEnding(
            NoEnding.NOT_STARTED, f"the child process was not ready within {BOOT_SECONDS:g} s"
        )
        self._is_running = False
        self._is_cancel_sent = False
        self._interrupt_at = float("inf")

    def until_it_ends(self) -> Ending | NoEnding:
        while True:
            if end := self._end_in(self._child.messages(POLL_SECONDS)):
                return end
            if self._child.is_gone:
                died = self._died()
                return self._end_in(self._child.remaining_messages()) or died
            if self._context.is_cancel_requested:
                self._cancel()
            if time.monotonic() >= self._kill_at:
                reason = self._kill_for
                return self._end_in(self._child.remaining_messages()) or reason

    def _end_in(self, received: Iterator[list[Any]]) -> Ending | NoEnding | None:
        """The end of the attempt, if it is among ``received``; reports among them are passed on."""
        for kind, *facts in received:
            if kind == messages.ENDING:
                return messages.ending_from(self._job, facts[0])
            if kind == messages.UNUSABLE:
                return NoEnding(NoEnding.NOT_STARTED, f"the child process can't start: {facts[0]}")
            self._handle(kind, facts)
        return None

    def _died(self) -> NoEnding:
        text = f"The child process that ran this job died ({self._child.exit_text()})."
        return NoEnding(NoEnding.DIED, text)

    def _handle(self, kind: str, facts: list[Any]) -> None:
        now = time.monotonic()
        if kind == messages.REPORT:
            progress, lines = facts
            self._context.receive(progress, messages.lines_from(lines))
        elif kind == messages.STARTED:
            self._is_running = True
            limit = float("inf") if self._timeout is None else self._timeout + GRACE_SECONDS
            self._kill_at, self._kill_for = now + limit, NoEnding(NoEnding.TIMED_OUT)
        elif kind == messages.RETURNED:
            # The work is done: neither its deadline nor a cancel request ends it now.
            self._is_running = False
            self._kill_at = now + LEAVE_SECONDS
            text = f"The child process reported no outcome within {LEAVE_SECONDS:g} s of its handler's return."
            self._kill_for = NoEnding(NoEnding.DIED, text)

    def _cancel(self) -> None:
        now = time.monotonic()
        if not self._is_running:
            return
        if not self._is_cancel_sent:
            self._is_cancel_sent = True
            self._child.send(messages.CANCEL)
            self._interrupt_at = now + CANCEL_SECONDS
        elif now >= self._interrupt_at:
            self._child.send(messages.INTERRUPT)
            self._interrupt_at = float("inf")
            if self._kill_at > now + CANCEL_SECONDS:
                self._kill_at = now + CANCEL_SECONDS
                self._kill_for = NoEnding(NoEnding.CANCELLED, "Stopped on request.")
