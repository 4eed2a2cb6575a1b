"""Lines of several programs on one output."""

from __future__ import annotations

import subprocess
import sys
import threading

COLORS = {"release": 35, "web": 36, "worker": 32, "dev": 33}


class Printer:
    """Lines of several programs on one output, each behind its program's name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followers: list[threading.Thread] = []
        self._has_colour = sys.stdout.isatty()
        self.count = 0  # lines printed so far

    def line(self, name: str, text: str) -> None:
        """Prints one line; an output that was closed swallows it."""
        prefix = f"{name:<7} | "
        if self._has_colour:
            prefix = f"\033[{COLORS.get(name, 37)}m{prefix}\033[0m"
        with self._lock:
            self.count += 1
            try:
                print(f"{prefix}{text}", flush=True)
            except OSError:
                # The programs must be able to run and exit normally, so their pipes are still read.
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
