"""`make run`: the embedded services, the migrations, and the programs of the Procfile."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from app.dev import DevError
from app.dev.code_watch import CodeWatch
from app.dev.instance import InstanceInUse, is_free
from app.dev.printer import Printer
from app.dev.process import MakeWatch, kill_group
from app.dev.programs import procfile, start
from app.dev.surroundings import (
    ROOT,
    Surroundings,
    development,
    names_servers,
    running_instance,
    settings,
    surroundings,
)

RELEASE, WEB = "release", "web"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The Procfile gives running jobs 25 s; the worker needs a moment more to write what became of
# them. No client waits for a response here.
GRACE_SECONDS = {"worker": 28.0}
GRACE_SECONDS_OF_OTHERS = 3.0
LOOK_SECONDS = 0.2
# The address is shown again after this many lines of output, at most once in this many seconds.
LINES_BETWEEN_ADDRESSES, SECONDS_BETWEEN_ADDRESSES = 60, 60.0
SAME_REQUEST_SECONDS = 0.5


def run(environ: Mapping[str, str], root: Path = ROOT, only: str | None = None) -> int:
    """Runs until a stop signal (exit code 0) or until one of the programs ends (1).

    ``only``: the one program of the Procfile to run besides the services and the migrations. Raises
    DevError or ConfigError when it cannot start; whatever was started is ended first.
    """
    stopping = Stopping(is_under_make="MAKELEVEL" in environ)
    port = settings(environ).port
    programs = procfile(root / "Procfile")
    release = programs.pop(RELEASE)
    if only is not None:
        if only not in programs:
            raise DevError(f"ONLY is {only!r}; set it to one of {', '.join(programs)}.")
        programs = {only: programs[only]}
    _check_not_running(environ, port)
    printer = Printer()
    for name, value in _ignored(environ):
        printer.line(
            "dev",
            f"{name}={value} is ignored: `make run` runs in development mode, for this machine only",
        )
    with surroundings(
        environ, web_port=port if WEB in programs else None, say=partial(printer.line, "dev")
    ) as around:
        this = Run(root, around, printer, stopping, CodeWatch(root, environ))
        is_well = stopping.is_set() or (
            this.release(release) and this.serve(programs, f"http://127.0.0.1:{port}")
        )
    return 0 if is_well or stopping.is_set() else 1


def _check_not_running(environ: Mapping[str, str], port: int) -> None:
    state = running_instance()
    if state and state.web_port and (state.web_port == port or not names_servers(environ)):
        raise InstanceInUse(state)
    if not is_free(port):
        raise DevError(
            f"Port {port} is in use; stop the program that listens on it, or choose another: "
            f"`make run PORT={port + 1}`."
        )


def _ignored(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Settings that development overrules."""
    ours = development(environ)
    return [
        (name, environ[name])
        for name in ("APP_ENV", "HOST")
        if environ.get(name, ours[name]) != ours[name]
    ]


class Stopping:
    """Whether somebody asked us to end, and whether they asked twice."""

    def __init__(self, *, is_under_make: bool) -> None:
        """Takes over the stop signals: from here on they only set a flag."""
        self.requests = 0
        self._last_at = float("-inf")
        self._event = threading.Event()
        self._make = MakeWatch(signal.SIGINT, signal.SIGHUP, is_under_make=is_under_make)
        for number in STOP_SIGNALS:
            signal.signal(number, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        # A signal to a process group reaches us twice when make passes it on: that is one request.
        if time.monotonic() - self._last_at > SAME_REQUEST_SECONDS:
            self.requests += 1
        self._last_at = time.monotonic()
        self._event.set()

    def is_set(self) -> bool:
        """Whether a request came."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits up to ``seconds`` for a request; whether one came."""
        self._event.wait(seconds)
        if self._make.received():
            self._request(signal.SIGINT, None)
        return self._event.is_set()


@dataclass(frozen=True, slots=True)
class Run:
    """One `make run`: the Procfile's programs in their surroundings."""

    root: Path
    around: Surroundings
    printer: Printer
    stopping: Stopping
    code: CodeWatch
    draining: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def release(self, command: str) -> bool:
        """Runs the migrations; whether they went through and nobody asked us to end."""
        process = self._start(RELEASE, command)
        while process.poll() is None and not self.stopping.wait(0.05):
            pass
        _end({RELEASE: process}, self.stopping)
        self.printer.drain()
        if self.stopping.is_set():
            return False
        is_done = process.returncode == 0
        message = (
            "the database is up to date" if is_done else "failed; no other program was started"
        )
        self.printer.line(RELEASE, message)
        return is_done

    def serve(self, programs: dict[str, str], url: str) -> bool:
        """Runs the programs until a stop request (True), or until one of them ends (False).

        A program that ends after a change of its code is started again at the next change.
        """
        processes = {name: self._start(name, command) for name, command in programs.items()}
        address = Address(url, self.printer, is_served=WEB in programs)
        reloaded: set[str] = set()
        try:
            while not self.stopping.wait(LOOK_SECONDS):
                for name, process in {**processes, **self.around.processes}.items():
                    if process.poll() is None:
                        continue
                    if name not in reloaded:
                        self.printer.line("dev", f"{name} exited (code {process.returncode})")
                        return False
                    del processes[name]
                    self.printer.line(
                        "dev", f"{name} exited; the next change to its code restarts it"
                    )
                if problem := self.code.take_problem():
                    self.printer.line("dev", f"code changes are not detected: {problem}")
                changed, file = self.code.take()
                if changed := changed & programs.keys():
                    self.printer.line(
                        "dev", f"{file} changed; restarting {' and '.join(sorted(changed))}"
                    )
                    reloaded |= changed
                    for name in sorted(changed):
                        self._retire(name, processes.pop(name, None))
                        processes[name] = self._start(name, programs[name])
                    address.is_up = False
                address.show()
            return True
        finally:
            self.code.close()
            self.printer.line(
                "dev", "stopping; running jobs get up to 25 s (Ctrl-C again: stop now)"
            )
            old = {f"worker {number}": process for number, process in enumerate(self.draining)}
            _end({**processes, **old}, self.stopping)
            self.printer.drain()

    def _retire(self, name: str, process: subprocess.Popen[bytes] | None) -> None:
        """Ends the web at once, for its port is needed; a worker may finish what it runs."""
        if process is None:
            return
        self.draining[:] = [old for old in self.draining if old.poll() is None]
        if name == WEB:
            _end({name: process}, self.stopping)
        else:
            process.terminate()
            self.draining.append(process)

    def _start(self, name: str, command: str) -> subprocess.Popen[bytes]:
        process = start(
            command,
            env=self.around.env,
            output=subprocess.PIPE,
            root=self.root,
            death_signal=signal.SIGTERM,
        )
        self.printer.follow(name, process)
        return process


class Address:
    """Shows where the web answers, and again when that has scrolled away."""

    def __init__(self, url: str, printer: Printer, *, is_served: bool) -> None:
        """``is_served``: whether the web is among the programs."""
        self.is_up = not is_served
        self._is_served = is_served
        self._url, self._printer = url, printer
        self._shown_at, self._line = 0.0, 0

    def show(self) -> None:
        """Prints the address if it is new, or was shown long ago."""
        if not self._is_served:
            return
        if not self.is_up:
            self.is_up = _answers(f"{self._url}/health")
            is_due = self.is_up
        else:
            is_due = (
                self._printer.count > self._line + LINES_BETWEEN_ADDRESSES
                and time.monotonic() > self._shown_at + SECONDS_BETWEEN_ADDRESSES
            )
        if is_due:
            for text in ("", f"ready: {self._url} (Ctrl-C stops everything)", ""):
                self._printer.line("dev", text)
            self._shown_at, self._line = time.monotonic(), self._printer.count


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _end(processes: dict[str, subprocess.Popen[bytes]], stopping: Stopping) -> None:
    """Ends all of them, at once on a second request; nothing they started is left."""
    requests, began = stopping.requests, time.monotonic()
    for process in processes.values():
        if process.poll() is None:
            process.terminate()
    waiting = dict(processes)
    while waiting:
        for name, process in list(waiting.items()):
            grace = GRACE_SECONDS.get(name.split()[0], GRACE_SECONDS_OF_OTHERS)
            is_over = time.monotonic() > began + grace or stopping.requests > requests
            if process.poll() is not None or is_over:
                kill_group(process.pid)
                process.wait()
                del waiting[name]
        time.sleep(0.02)
