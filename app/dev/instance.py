"""One pair of services: its folder, its lock, and what it remembers (ports, password)."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from app.dev import DevError
from app.dev.home import Home

FRESH_PREFIX = "fresh-"
PORTS = range(20_000, 32_768)


@dataclass(frozen=True, slots=True)
class State:
    """What an instance keeps between starts."""

    password: str
    postgres_port: int
    redis_port: int
    pid: int | None = None  # of the process that runs it, or ran it last
    web_port: int | None = None  # of the web server that `make run` started, or started last

    @property
    def database_url(self) -> str:
        return f"postgresql://jobqueue:{self.password}@127.0.0.1:{self.postgres_port}/jobqueue"

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.redis_port}/0"


@dataclass(slots=True)
class Instance:
    """A folder that this process has locked: no other one starts services in it."""

    home: Home
    folder: Path
    state: State
    is_durable: bool  # False: fsync off, nothing survives (tests)

    def remember(self, **ports: int) -> None:
        """Stores changed ports."""
        self.state = replace(self.state, **ports)  # type: ignore[arg-type]
        _write_state(self.folder, self.state)


class InstanceInUse(DevError):
    """Another process runs this instance; ``state`` says where it listens."""

    def __init__(self, state: State | None) -> None:
        self.state = state
        where = f" at http://127.0.0.1:{state.web_port}" if state and state.web_port else ""
        by = f" (process {state.pid})" if state and state.pid else ""
        super().__init__(f"This checkout is already running{where}{by}; stop it first.")


@contextmanager
def open_instance(home: Home, name: str) -> Iterator[Instance]:
    """Locks ``name``, which keeps its data for the next time. Raises InstanceInUse."""
    folder = home.make_private(home.folder / name)
    with _locked(folder):
        yield Instance(home, folder, _claim_state(folder), is_durable=True)


def running_state(home: Home, name: str) -> State | None:
    """What the instance ``name`` remembers, if a process runs it now."""
    try:
        with _locked(home.folder / name):
            return None
    except InstanceInUse as in_use:
        return in_use.state
    except FileNotFoundError:  # never started
        return None


@contextmanager
def fresh_instance(home: Home, *, is_durable: bool = False) -> Iterator[Instance]:
    """A new, empty instance, removed at the end; also removes those that a killed process left."""
    with _exclusive(home.folder / "lock"):
        _remove_abandoned(home)
        folder = Path(tempfile.mkdtemp(prefix=FRESH_PREFIX, dir=home.folder))
        home.make_private(folder)
        lock = _lock(folder)
    try:
        yield Instance(home, folder, _claim_state(folder), is_durable)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _remove_abandoned(home: Home) -> None:
    for folder in home.folder.glob(f"{FRESH_PREFIX}*"):
        try:
            lock = _lock(folder)
        except InstanceInUse:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _lock(folder)
    try:
        yield
    finally:
        lock.close()


def _lock(folder: Path) -> IO[str]:
    # A kernel lock: released when its holder exits, for whatever reason.
    lock = open(folder / "lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InstanceInUse(_read_state(folder)) from None
    return lock


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _claim_state(folder: Path) -> State:
    state = _read_state(folder) or State(secrets.token_urlsafe(18), free_port(), free_port())
    state = replace(state, pid=os.getpid(), web_port=None)
    _write_state(folder, state)
    return state


def _read_state(folder: Path) -> State | None:
    try:
        return State(**json.loads((folder / "state.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write_state(folder: Path, state: State) -> None:
    draft = folder / "state.json.new"
    draft.touch(0o600)
    draft.write_text(json.dumps(asdict(state)))
    draft.replace(folder / "state.json")


def free_port() -> int:
    """A TCP port of the loopback address that was free when checked.

    Below the range that the system takes for outgoing connections, which would take it while we are down.
    """
    for _ in range(100):
        candidate = PORTS.start + secrets.randbelow(len(PORTS))
        if is_free(candidate):
            return candidate
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether nobody listens on ``port``."""
    with socket.socket() as probe:
        # Connections of an earlier run in TIME_WAIT don't count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
