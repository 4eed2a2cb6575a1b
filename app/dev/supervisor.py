"""`make run`: the embedded services, the migrations, and the programs of the Procfile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from app.dev import DevError
from app.dev.instance import is_free
from app.dev.process import catches, kill_group, spawn
from app.dev.surroundings import ROOT, Surroundings, settings, surroundings

RELEASE = "release"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The Procfile gives running jobs 25 s; the worker needs a moment more to write what became of
# them. Nobody here waits for the answer to a request.
GRACE_SECONDS = {"worker": 28.0}
GRACE_SECONDS_OF_OTHERS = 3.0
LOOK_SECONDS = 0.2
SAME_REQUEST_SECONDS = 0.5
COLOURS = {"release": 35, "web": 36, "worker": 32, "dev": 33}


def run(environ: Mapping[str, str], root: Path = ROOT) -> int:
    """Runs until a stop signal (exit code 0) or until one of the programs ends (1).

    Raises DevError or ConfigError when it cannot start; whatever was started is ended first.
    """
    stopping = Stopping(is_under_make="MAKELEVEL" in environ)
    port = settings(environ).port
    if not is_free(port):
        raise DevError(
            f"Port {port} is taken; stop what listens there, or choose another one: "
            f"`make run PORT={port + 1}`."
        )
    programs = procfile(root / "Procfile")
    printer = Printer()
    printer.line("dev", "starting PostgreSQL and Redis; the first time this takes a moment")
    with surroundings(environ, web_port=port) as around:
        this = Run(root, around, printer, stopping)
        is_well = stopping.is_set() or (
            this.release(programs.pop(RELEASE)) and this.serve(programs, f"http://127.0.0.1:{port}")
        )
    return 0 if is_well or stopping.is_set() else 1


def procfile(path: Path) -> dict[str, str]:
    """Command by process name."""
    lines = [line.partition(":") for line in path.read_text().splitlines() if ":" in line]
    return {name.strip(): command.strip() for name, _, command in lines}


class Stopping:
    """Whether somebody asked us to end, and whether they asked twice."""

    def __init__(self, *, is_under_make: bool) -> None:
        """Takes over the stop signals: from here on they only set a flag."""
        self.requests = 0
        self._last_at = float("-inf")
        self._event = threading.Event()
        self._make = os.getppid() if is_under_make else None
        if self._make and not catches(self._make, signal.SIGINT):
            self._make = None
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
        # A SIGINT sent to make alone, not to its group, is not passed on: make drops its handler
        # and waits for us. That much can be seen from here.
        if self._make and not catches(self._make, signal.SIGINT):
            self._make = None
            self._request(signal.SIGINT, None)
        return self._event.is_set()


class Printer:
    """Lines of several programs on one output, each behind its program's name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followers: list[threading.Thread] = []
        self._has_colour = sys.stdout.isatty()

    def line(self, name: str, text: str) -> None:
        """Prints one line; an output that was closed swallows it."""
        prefix = f"{name:<7} | "
        if self._has_colour:
            prefix = f"\033[{COLOURS.get(name, 37)}m{prefix}\033[0m"
        with self._lock:
            try:
                print(f"{prefix}{text}", flush=True)
            except OSError:
                # The programs must be able to go on and end well: their pipes are still read.
                sys.stdout = open("/dev/null", "w")  # noqa: SIM115

    def follow(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Prints what ``process`` says, in a thread that ends with its output."""

        def pump() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                self.line(name, line.decode(errors="replace").rstrip())

        thread = threading.Thread(target=pump, name=f"log of {name}", daemon=True)
        self._followers.append(thread)
        thread.start()

    def drain(self) -> None:
        """Waits until the last words of programs that ended are printed."""
        for thread in self._followers:
            thread.join(2)


@dataclass(frozen=True, slots=True)
class Run:
    """One `make run`: the Procfile's programs in their surroundings."""

    root: Path
    around: Surroundings
    printer: Printer
    stopping: Stopping

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
        told = "the database is up to date" if is_done else "failed; nothing else was started"
        self.printer.line(RELEASE, told)
        return is_done

    def serve(self, programs: dict[str, str], url: str) -> bool:
        """Runs the programs until a stop request (True), or until one of them ends (False)."""
        processes = {name: self._start(name, command) for name, command in programs.items()}
        watched = {**processes, **self.around.processes}
        is_up = False
        try:
            while not self.stopping.wait(LOOK_SECONDS):
                for name, process in watched.items():
                    if process.poll() is not None:
                        self.printer.line("dev", f"{name} ended (exit code {process.returncode})")
                        return False
                if not is_up and (is_up := _answers(f"{url}/health")):
                    self.printer.line("dev", f"ready: {url} (Ctrl-C ends everything)")
            return True
        finally:
            told = "ending; running jobs get up to 25 s (Ctrl-C again: at once)"
            self.printer.line("dev", told)
            _end(processes, self.stopping)
            self.printer.drain()

    def _start(self, name: str, command: str) -> subprocess.Popen[bytes]:
        process = spawn(
            ["/bin/sh", "-c", f"exec {command}"],
            death_signal=signal.SIGTERM,
            env=self.around.env,
            cwd=self.root,
            output=subprocess.PIPE,
        )
        self.printer.follow(name, process)
        return process


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
            grace = GRACE_SECONDS.get(name, GRACE_SECONDS_OF_OTHERS)
            is_over = time.monotonic() > began + grace or stopping.requests > requests
            if process.poll() is not None or is_over:
                kill_group(process.pid)
                process.wait()
                del waiting[name]
        time.sleep(0.02)
