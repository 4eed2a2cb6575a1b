"""Copies of the checkout to run ``python -m app.dev`` in, and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import pty
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.dev.bootstrap import BootstrapError, remove_data
from app.dev.home import can_enter
from app.dev.instance import free_port
from app.dev.process import Identity, kill_group, spawn
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
PARTS = ("app", "migrations", "templates", "static", "wsgi.py", "Procfile")


class Checkout:
    """A copy of the project in a folder of its own."""

    def __init__(self, folder: Path, identity: Identity | None = None) -> None:
        """Copies the project; ``identity`` owns and runs it (None: ourselves)."""
        self.folder = folder
        self.identity = identity
        self.var = folder / "var"
        self.port = free_port()
        self.running: list[subprocess.Popen[bytes]] = []
        for part in PARTS:
            if (ROOT / part).is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / part, folder / part, ignore=ignore)
            elif (ROOT / part).exists():
                shutil.copy(ROOT / part, folder / part)
        self.python = Path(sys.executable)
        if identity:
            if not _can_run(identity, self.python):
                self.python = _borrow_environment(folder / "venv")
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, identity.uid, identity.gid, follow_symlinks=False)

    def dev(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """``python -m app.dev …`` to its end; stdout holds both outputs."""
        process = self.spawn(*arguments, output="output", **env)
        process.wait(120)
        printed = (self.folder / "output").read_text()
        return subprocess.CompletedProcess(arguments, process.returncode, printed)

    def dev_after(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python -m app.dev …`` to its end, with something in it changed by ``code`` before."""
        main = f"import sys; {code}; import app.dev.__main__ as main; sys.exit(main.main())"
        process = self._spawn([str(self.python), "-c", main, *arguments], "output", {})
        process.wait(120)
        printed = (self.folder / "output").read_text()
        return subprocess.CompletedProcess(arguments, process.returncode, printed)

    def bootstrap(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``python app/dev/bootstrap.py …`` to its end; stdout holds both outputs."""
        process = self._spawn([str(self.python), "app/dev/bootstrap.py", *arguments], "output", {})
        process.wait(60)
        printed = (self.folder / "output").read_text()
        return subprocess.CompletedProcess(arguments, process.returncode, printed)

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        """``python -m app.dev run``, answering."""
        process = self.spawn("run", **env)
        wait_until(lambda: process.poll() is not None or self.is_up(), timeout=60, what="ready")
        assert process.poll() is None, self.log
        return process

    def spawn(
        self, *arguments: str, output: str = "log", has_death_signals: bool = True, **env: str
    ) -> subprocess.Popen[bytes]:
        """``python -m app.dev …``, just started."""
        command = ["-m", "app.dev"]
        if not has_death_signals:  # as on macOS
            forget = "import app.dev.process as p; p._libc = None; import app.dev.__main__ as m"
            command = ["-c", f"{forget}; m.main()"]
        return self._spawn([str(self.python), *command, *arguments], output, env)

    def start_make(self, **env: str) -> subprocess.Popen[bytes]:
        """``make run`` with our virtual environment, answering."""
        make = self.make("run", **env)
        wait_until(lambda: make.poll() is not None or self.is_up(), timeout=60, what="ready")
        assert make.poll() is None, self.log
        return make

    def make(self, *arguments: str, output: str = "log", **env: str) -> subprocess.Popen[bytes]:
        """``make …`` with our virtual environment, just started."""
        self.borrow_make()
        return self._spawn(["make", "-o", "ready-run", *arguments], output, env)

    def borrow_make(self) -> None:
        """Puts the Makefile and a link to our virtual environment into the copy."""
        shutil.copy(ROOT / "Makefile", self.folder)
        if not (self.folder / ".venv").is_symlink():
            (self.folder / ".venv").symlink_to(sys.prefix)

    def make_output(self, *arguments: str, **env: str) -> str:
        """What ``make …`` prints until it ends."""
        self.make(*arguments, output="output", **env).wait(60)
        return (self.folder / "output").read_text()

    @contextlib.contextmanager
    def on_terminal(self, *argv: str, **env: str) -> Iterator[Terminal]:
        """A command that leads the session of a terminal of its own, as in a new window."""
        self.borrow_make()
        terminal = Terminal([*argv], {**os.environ, "PORT": str(self.port), **env}, self.folder)
        try:
            yield terminal
        finally:
            terminal.close()

    def _spawn(self, argv: list[str], output: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "LC_ALL", "LANG")}
        with open(self.folder / output, "wb") as file:
            process = spawn(
                argv,
                death_signal=signal.SIGTERM,
                identity=self.identity,
                # One process: Granian takes 10 s to end one that gets its signal while it starts.
                env={**inherited, "PORT": str(self.port), "WEB_CONCURRENCY": "1", **env},
                cwd=self.folder,
                output=file,
            )
        self.running.append(process)
        return process

    @property
    def log(self) -> str:
        """What ``start`` printed so far."""
        return (self.folder / "log").read_text(errors="replace")

    def is_up(self) -> bool:
        """Whether the web server answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                return True
        except OSError:
            return False

    def processes(self) -> list[psutil.Process]:
        """Every process that works in this copy, or in the folder its ``var`` points to."""
        home = (self.var / "services").resolve()
        folders = [str(self.folder), *([str(home)] if home.exists() else [])]
        return [p for p in psutil.process_iter() if _works_in(p, folders)]

    def close(self) -> None:
        """Ends and removes everything."""
        for process in self.running:
            kill_group(process.pid)
            process.wait()
        # What a test wants to see end by itself it has waited for.
        for left in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        wait_until(lambda: not self.processes(), interval=0.1, what="all ended")
        if self.identity is None:
            wait_until(self._is_removed, interval=0.1, what="the lock released")
        shutil.rmtree(self.folder)

    def _is_removed(self) -> bool:
        # The last thread of a killed process may hold the lock after its first one has left the folder.
        try:
            remove_data(self.var)
        except BootstrapError:
            return False
        return True


class Terminal:
    """A pseudo-terminal with a command in it, read in the background."""

    def __init__(self, argv: list[str], env: dict[str, str], folder: Path) -> None:
        """Starts the command as the leader of the terminal's session."""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            # As a new window has them, whatever started the tests: nohup ignores SIGHUP, make says it is above.
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
                env.pop(name, None)
            os.execvpe(argv[0], argv, env)
        self._seen = b""
        self._is_open = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # Never in a blocking read, which would keep the terminal open after close().
        with contextlib.suppress(OSError):
            while self._is_open:
                if select.select([self._fd], [], [], 0.1)[0]:
                    self._seen += os.read(self._fd, 65536)

    @property
    def text(self) -> str:
        """Everything it showed so far."""
        return self._seen.decode(errors="replace")

    def type(self, line: str) -> None:
        """Types a line and Enter."""
        os.write(self._fd, line.encode() + b"\n")

    def close(self) -> None:
        """Closes the window: the session's leader gets SIGHUP."""
        if self._is_open:
            self._is_open = False
            self._reader.join()
            os.close(self._fd)

    def wait(self, timeout: float) -> None:
        """Waits until the command ended."""
        wait_until(lambda: os.waitpid(self.pid, os.WNOHANG)[0], timeout=timeout, what=self.text)


def _works_in(process: psutil.Process, folders: list[str]) -> bool:
    try:
        place = process.cwd()
    except psutil.Error:
        return False
    return any(place == folder or place.startswith(f"{folder}/") for folder in folders)


@pytest.fixture
def make_checkout() -> Iterator[Callable[..., Checkout]]:
    """``make_checkout(mode=0o700)``: copies whose folder has the given mode."""
    made: list[Checkout] = []

    def make(*, mode: int = 0o700, identity: Identity | None = None) -> Checkout:
        folder = Path(tempfile.mkdtemp(prefix="jobqueue-checkout-"))
        folder.chmod(mode)
        made.append(Checkout(folder, identity))
        return made[-1]

    yield make
    for checkout in made:
        checkout.close()


@pytest.fixture
def checkout(make_checkout: Callable[..., Checkout]) -> Checkout:
    """A copy in a folder that only its owner can enter."""
    return make_checkout()


@pytest.fixture
def ordinary_user() -> Identity:
    """Somebody without rights who can run Python with our packages."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; the other tests run as one already")
    entry = pwd.getpwnam("daemon")  # not nobody, whom root lets run the services
    identity = Identity(entry.pw_uid, entry.pw_gid)
    pythons = (Path(sys.executable), SYSTEM_PYTHON)
    if not can_enter(identity, ROOT) or not any(_can_run(identity, p) for p in pythons):
        pytest.skip("other users can neither enter this checkout nor run its Python")
    return identity


def _can_run(identity: Identity, python: Path) -> bool:
    try:
        user = {"user": identity.uid, "group": identity.gid}
        return subprocess.run([python, "-c", ""], cwd="/", **user).returncode == 0
    except OSError:
        return False


def _borrow_environment(folder: Path) -> Path:
    """A virtual environment of the system's Python with this one's packages; its interpreter."""
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    ours, version = Path(sys.prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path("lib") / version / "site-packages"
    (folder / packages / "ours.pth").write_text(f"{ours / packages}\n")
    for name in ("flask", "granian", "huey_consumer"):
        body = (ours / "bin" / name).read_text()
        script = folder / "bin" / name
        script.write_text(f"#!{folder}/bin/python\n{body[body.index('import ') :]}")
        script.chmod(0o755)
    return folder / "bin" / "python"
