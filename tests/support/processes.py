"""The programs of the Procfile as real processes, ended by their own ids."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from app.dev.instance import free_port
from app.dev.process import kill_group
from app.dev.programs import procfile, start
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Program:
    """One running program; what it prints goes to a file."""

    def __init__(self, name: str, env: Mapping[str, str], log: Path) -> None:
        """Starts the Procfile's ``name`` in ``env``."""
        self.name = name
        self.log = log
        with open(log, "wb") as output:
            self.process: subprocess.Popen[bytes] = start(procfile()[name], env=env, output=output)

    @property
    def pid(self) -> int:
        """The program's own process id."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """Everything it printed so far."""
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, SIGSTOP and SIGCONT included."""
        os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30) -> int:
        """Ends it politely; its exit code. AssertionError if it is still there after ``timeout``."""
        if self.is_alive:
            self.send(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} ignored {number.name} for {timeout} s") from None

    def kill(self) -> None:
        """kill -9, children included."""
        kill_group(self.pid)
        self.process.wait()

    def discard(self) -> None:
        """Makes sure it is gone, and prints the end of its log for the report of a failed test."""
        self.kill()
        lines = self.output.splitlines()
        print(f"--- {self.name} ({self.pid}), last of {len(lines)} lines")
        print("\n".join(lines[-40:]))


class WebServer(Program):
    """The Procfile's web program on a free port."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        """Starts it; ``url`` answers after ``wait_until_ready``."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__("web", {"WEB_CONCURRENCY": "1", **env, "PORT": str(port)}, log)

    def wait_until_ready(self) -> None:
        """Returns when /health answers."""
        wait_until(self._answers, timeout=20, interval=0.05, what=f"web is up: {self.log}")

    def _answers(self) -> bool:
        if not self.is_alive:
            raise RuntimeError(f"web ended at start:\n{self.output}")
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False
