"""Children that cannot outlive us: started with a death signal, ended in a bounded time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and group a child runs as."""

    uid: int
    gid: int


def spawn(
    argv: Sequence[str],
    *,
    death_signal: signal.Signals,
    identity: Identity | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: int | IO[Any] | None = None,
) -> subprocess.Popen[bytes]:
    """A child in a session of its own, without input; stdout and stderr both go to ``output``.

    ``death_signal`` reaches it when we die in any way, kill -9 included (on Linux; elsewhere the
    next start finds and ends what was left). Call it from the main thread: Linux sends the signal
    when the *thread* that forked ends.
    """
    return subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        # A session of its own: Ctrl-C in the terminal is ours to pass on, in the right order.
        start_new_session=True,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=[] if identity else None,
        preexec_fn=_die_with(os.getpid(), death_signal),
    )


def _die_with(parent: int, death_signal: signal.Signals) -> Callable[[], None] | None:
    if _libc is None:
        return None

    def arm() -> None:
        # Runs after the change of user, which would have cleared it.
        _libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # died in between: the signal will never come
            os._exit(1)

    return arm


def follow_parent(death_signal: signal.Signals) -> None:
    """Asks the kernel for ``death_signal`` when our own parent dies (Linux; elsewhere nothing)."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether process ``pid`` has a handler for a signal (Linux; elsewhere False)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


class MakeWatch:
    """Notices signals that only our parent, make, received (Linux).

    A SIGINT or SIGHUP sent to make alone, not to its group, is not passed on: make drops its handler and
    waits for us. That can be seen from here.
    """

    def __init__(self, *numbers: signal.Signals, is_under_make: bool) -> None:
        """Looks for ``numbers``, of which make must have handlers now."""
        self._make = os.getppid()
        self._numbers = [n for n in numbers if is_under_make and catches(self._make, n)]

    def received(self) -> bool:
        """Whether make got one of them; True once."""
        lost = [number for number in self._numbers if not catches(self._make, number)]
        if lost:
            self._numbers = []
        return bool(lost)


def stop(process: subprocess.Popen[bytes], *, polite: signal.Signals, grace_seconds: float) -> None:
    """Asks with ``polite``, waits ``grace_seconds``, then kills; its whole group is gone after."""
    if process.poll() is None:
        process.send_signal(polite)
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    kill_group(process.pid)


def kill_group(pid: int) -> None:
    """Kills what is left of the session that ``spawn`` made for ``pid``."""
    # macOS says PermissionError of a group that holds only zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
