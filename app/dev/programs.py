"""The programs of the Procfile: what they are, and the one way to start them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from app.dev.process import spawn

ROOT = Path(__file__).resolve().parents[2]


def procfile(path: Path = ROOT / "Procfile") -> dict[str, str]:
    """Command by program name."""
    lines = [line.partition(":") for line in path.read_text().splitlines() if ":" in line]
    return {name.strip(): command.strip() for name, _, command in lines}


def argv(command: str) -> list[str]:
    """A command of the Procfile as arguments; a signal reaches the program itself, not a shell."""
    return ["/bin/sh", "-c", f"exec {command}"]


def start(
    command: str,
    *,
    env: Mapping[str, str],
    output: int | IO[Any] | None,
    root: Path = ROOT,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """A command of the Procfile in a session of its own; see ``spawn``."""
    return spawn(argv(command), death_signal=death_signal, env=env, cwd=root, output=output)
