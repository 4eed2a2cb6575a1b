"""What `make` does before the project's packages are installed: the virtual environment, and `make clean`.

Standard library only. The Makefile picks an interpreter that the project runs on and calls it by path:
``python3 app/dev/bootstrap.py install run``.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Set of packages → its use, size, and installation time on fast and slow connections.
SETS = {
    "run": "what `make run` needs into .venv (200 MB; 10 to 60 seconds)",
    "dev": "what `make test` and `make check` need into .venv (600 MB; 30 seconds to 3 minutes)",
}
# The platforms that requirements-run.in has an embedded PostgreSQL and Redis for.
PLATFORMS = (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"))
OLDEST_GLIBC = (2, 28)
CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis")
LINK_NAME = "services"  # in var/: where root had to keep the services' files elsewhere
OWNER_NOTE = "checkout"  # in the folder elsewhere: which var/ it belongs to


class BootstrapError(Exception):
    """Why `make` cannot go on, as one sentence that also says the fix."""


def main(argv: Sequence[str]) -> int:
    """Runs ``install`` or ``clean``; the exit code."""
    parser = argparse.ArgumentParser(prog="python app/dev/bootstrap.py")
    commands = parser.add_subparsers(dest="command")
    install = commands.add_parser("install", help="install a set of packages into .venv")
    install.add_argument("set", choices=sorted(SETS))
    install.add_argument("--servers", action="store_true", help="embedded servers will be needed")
    install.add_argument("--chosen", action="store_true", help="PYTHON=… named this interpreter")
    commands.add_parser("clean", help="remove .venv, the caches and var/")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "clean":
            clean(ROOT)
        else:
            if arguments.servers and not names_servers(ROOT):
                check_platform()
            with _one_at_a_time(ROOT):
                prepare(ROOT, arguments.set, arguments.chosen)
    except BootstrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(
            f"error: {error.filename} belongs to another user; run make as that user.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def check_platform() -> None:
    """Raises BootstrapError where no embedded servers can be installed."""
    here = (platform.system(), platform.machine())
    libc, version = platform.libc_ver()
    is_old = here[0] == "Linux" and (
        libc != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < OLDEST_GLIBC
    )
    if here not in PLATFORMS or is_old:
        raise BootstrapError(
            "The embedded PostgreSQL and Redis need Linux on x86-64 or aarch64 with glibc "
            f"{OLDEST_GLIBC[0]}.{OLDEST_GLIBC[1]} or newer, or macOS on Apple silicon; this is "
            f"{' '.join(here)} with {libc or 'another C library'} {version}".rstrip()
            + "; set DATABASE_URL and REDIS_URL to your own servers."
        )


def names_servers(root: Path) -> bool:
    """Whether the environment or ``.env`` names a PostgreSQL of the user's own."""
    if os.environ.get("DATABASE_URL"):
        return True
    with suppress(OSError):
        for line in (root / ".env").read_text().splitlines():
            name, _, value = line.strip().partition("=")
            if name.replace("export ", "").strip() == "DATABASE_URL" and value.strip():
                return True
    return False


def prepare(root: Path, packages: str, is_chosen: bool) -> None:
    """Installs the set ``packages`` into ``.venv``, unless it is already installed.

    ``is_chosen``: the user named this interpreter, so an environment of another one is replaced.
    """
    environment = root / ".venv"
    record = _read(environment)
    _discard_unusable(environment, record, is_chosen)
    lock = root / f"requirements-{packages}.txt"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    record = _read(environment)
    if record.get(packages) == wanted:
        return
    began = time.monotonic()
    if not (environment / "bin" / "python").exists():
        _make(environment)
    print(f"Installing {SETS[packages]}", flush=True)
    command = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "-r", str(lock)]
    if subprocess.call(command) != 0:
        raise BootstrapError(f"pip could not install {lock.name}; see its message above.")
    print(f"Installed in {time.monotonic() - began:.0f} s", flush=True)
    installed = {**record, **_identity(environment), packages: wanted}
    (environment / "installed.json").write_text(json.dumps(installed))


def _discard_unusable(environment: Path, record: dict[str, Any], is_chosen: bool) -> None:
    if not os.path.lexists(environment):
        return
    ours = _identity(environment)
    if not (environment / "bin" / "python").exists():
        reason = "its Python no longer exists"
    elif record and record.get("path") != ours["path"]:
        reason = (
            "it was created for another folder"  # programs in it start with that folder's Python
        )
    elif is_chosen and record and record.get("python") != ours["python"]:
        reason = "it was created with another Python"
    else:
        return
    print(f"Rebuilding .venv: {reason}", flush=True)
    _remove(environment)


def _identity(environment: Path) -> dict[str, Any]:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"path": os.path.realpath(environment), "python": [version, sys.base_prefix]}


def _read(environment: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((environment / "installed.json").read_text())
    except (OSError, ValueError):
        return {}
    return record


def _make(environment: Path) -> None:
    # The base interpreter: ours may be that of the environment just removed.
    python = getattr(sys, "_base_executable", sys.executable)
    if subprocess.call([python, "-m", "venv", str(environment)], stdout=subprocess.DEVNULL) != 0:
        _remove(environment)
        raise BootstrapError(
            "could not create a virtual environment; on Debian and Ubuntu: "
            f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv"
        )


def clean(root: Path) -> None:
    """Removes the virtual environment, the caches and all data. Raises BootstrapError while it runs."""
    remove_data(root / "var")
    for name in (".venv", *CACHES):
        _remove(root / name)
    for folder in list(root.rglob("__pycache__")):
        _remove(folder)


def remove_data(var: Path) -> None:
    """Removes ``var`` and the folder elsewhere that belongs to it. Raises BootstrapError while in use."""
    link = var / LINK_NAME
    elsewhere = link.resolve() if link.is_symlink() else None
    # A link that came along with a copied checkout leads to the other one's data.
    if elsewhere and not owns(elsewhere, var):
        elsewhere = None
    for folder in (var / "embedded", elsewhere):
        for lock in folder.glob("*/lock") if folder else ():
            _check_unused(lock)
    if elsewhere:
        shutil.rmtree(elsewhere)
    _remove(var)


def owns(elsewhere: Path, var: Path) -> bool:
    """Whether the folder ``elsewhere`` holds the services' files of ``var``, which may have moved."""
    try:
        owner = Path((elsewhere / OWNER_NOTE).read_text())
    except OSError:
        return False
    return owner == var.resolve() or not owner.is_dir()


def _check_unused(lock: Path) -> None:
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BootstrapError("This checkout is already running; stop it first.") from None


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    folder = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
