"""A PgBouncer in transaction mode before a server: its sessions are shared by all clients."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from app.dev.home import Home
from app.dev.instance import free_port
from app.dev.process import kill_group, spawn
from tests.support.services import ROOT
from tests.support.waiting import wait_until

CONFIG = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
ignore_startup_parameters = {ignored}
"""


def pgbouncer_path() -> str:
    """The program's path; without one the test is skipped, or fails if REQUIRE_PGBOUNCER=1."""
    if found := shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return found
    if os.environ.get("REQUIRE_PGBOUNCER") == "1":
        pytest.fail("REQUIRE_PGBOUNCER=1, but pgbouncer was not found.")
    pytest.skip("pgbouncer was not found")


@contextmanager
def pgbouncer(
    database_url: str, *, size: int, ignored: str = "extra_float_digits"
) -> Iterator[str]:
    """The URL of the same database through a pooler with ``size`` connections to it.

    ``ignored``: startup parameters that it drops instead of refusing them.
    """
    program, parts, listen = pgbouncer_path(), urlsplit(database_url), free_port()
    identity = Home(ROOT / "var").identity  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    config = folder / "pgbouncer.ini"
    config.write_text(
        CONFIG.format(
            host=parts.hostname, port=parts.port, user=parts.username, password=parts.password,
            listen=listen, size=size, ignored=ignored,
        )
    )  # fmt: skip
    if identity:
        for path in (folder, config):
            os.chown(path, identity.uid, identity.gid)
    with open(folder / "log", "wb") as log:
        process = spawn(
            [program, str(config)], death_signal=signal.SIGKILL, identity=identity, output=log
        )
    try:
        url = urlunsplit(parts._replace(netloc=f"{parts.username}:x@127.0.0.1:{listen}"))
        wait_until(lambda: _answers(url), timeout=10, what=(folder / "log").read_text())
        yield url
    finally:
        kill_group(process.pid)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True
