"""Where the embedded services keep their data, and as whom they run.

An ordinary user runs them itself, with data under ``var/``. PostgreSQL refuses to run as root, so
root hands both services to an unprivileged user. Where that user cannot enter the checkout (or
the virtual environment), data (or binaries) live in a folder of its own, and a link in ``var/``
points there: no mode outside ``var/`` is ever changed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from app.dev import DevError
from app.dev.bootstrap import LINK_NAME, OWNER_NOTE, owns
from app.dev.process import Identity

UNPRIVILEGED_USERS = ("nobody", "daemon")


class Home:
    """A folder for the services' files, and the identity that owns them (None: ourselves)."""

    def __init__(self, var: Path) -> None:
        """Makes ``var`` and what lies behind it. PermissionError if it is another user's."""
        self.var = var.resolve()
        self.identity = _unprivileged() if os.geteuid() == 0 else None
        self.var.mkdir(exist_ok=True)
        self.folder = self._folder()

    def _folder(self) -> Path:
        inside = self.var / "embedded"
        if (self.var / LINK_NAME).is_symlink() and self.identity is not None:
            return self._folder_elsewhere()
        _private(inside, self.identity)
        if self.identity is None or can_enter(self.identity, inside):
            return inside
        inside.rmdir()
        return self._folder_elsewhere()

    def _folder_elsewhere(self) -> Path:
        link = self.var / LINK_NAME
        if link.is_symlink() and self._is_ours(link):
            return link.resolve()
        link.unlink(missing_ok=True)
        # /var/tmp is the one that survives a restart of the machine.
        parent = "/var/tmp" if os.access("/var/tmp", os.W_OK) else None
        folder = _private(Path(tempfile.mkdtemp(prefix="jobqueue-", dir=parent)), self.identity)
        (folder / OWNER_NOTE).write_text(str(self.var))
        link.symlink_to(folder)
        return folder

    def _is_ours(self, link: Path) -> bool:
        """False for a link that came along when somebody copied the whole checkout."""
        is_ours = owns(link, self.var)
        if is_ours:  # even after the checkout was moved
            (link / OWNER_NOTE).write_text(str(self.var))
        return is_ours

    def reachable(self, root: Path, probe: str, *, within: str = "") -> Path:
        """``root``, or a copy that the services' user can read (tried on the file ``probe``).

        Copies lie under ``binaries/<within>/``, so that packages keep their places to each other.
        """
        if self.identity is None or can_read(self.identity, root / probe):
            return root
        copy = self.folder / "binaries" / within / root.name
        if not _is_copy(copy / probe, root / probe):
            shutil.rmtree(copy, ignore_errors=True)  # of an older version
            copy.parent.mkdir(parents=True, exist_ok=True)
            self._copy(root, copy)
        return copy

    def _copy(self, root: Path, copy: Path) -> None:
        unfinished = copy.with_name(f".{copy.name}.{os.getpid()}")
        shutil.copytree(root, unfinished, symlinks=True)
        # Made under a strict umask, they would be ours alone; the folder above them is private.
        above = [copy.parent, *copy.parent.parents]
        above = above[: above.index(self.folder)]
        for path in [*above, unfinished, *unfinished.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        try:
            unfinished.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(unfinished)

    def write_secret(self, file: Path, text: str) -> None:
        """Writes a file that only the services' user (and root) can read."""
        file.touch(0o600)
        file.write_text(text)
        if self.identity:
            os.chown(file, self.identity.uid, self.identity.gid)

    def make_private(self, folder: Path) -> Path:
        """``folder``, made if need be: owned by the services' user, closed to all others."""
        return _private(folder, self.identity)


def can_enter(identity: Identity, folder: Path) -> bool:
    """Whether a process of ``identity`` can reach ``folder``: tried, not reckoned from modes."""
    return _try_as(identity, "-x", folder)


def can_read(identity: Identity, file: Path) -> bool:
    """Whether a process of ``identity`` can read ``file``: tried, not reckoned from modes."""
    return _try_as(identity, "-r", file)


def _is_copy(copy: Path, original: Path) -> bool:
    if not copy.exists():
        return False
    one, other = copy.stat(), original.stat()
    return (one.st_size, int(one.st_mtime)) == (other.st_size, int(other.st_mtime))


def _try_as(identity: Identity, test: str, path: Path) -> bool:
    done = subprocess.run(
        ["/bin/sh", "-c", f'test {test} "$1"', "sh", str(path)],
        cwd="/",
        user=identity.uid,
        group=identity.gid,
        extra_groups=[],
    )
    return done.returncode == 0


def _unprivileged() -> Identity:
    for name in UNPRIVILEGED_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(entry.pw_uid, entry.pw_gid)
    raise DevError(
        "PostgreSQL refuses to run as root and there is no user 'nobody' to run it as; "
        "run make as an ordinary user."
    )


def _private(folder: Path, identity: Identity | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if identity is not None:
        os.chown(folder, identity.uid, identity.gid)
    folder.chmod(0o700)
    return folder
