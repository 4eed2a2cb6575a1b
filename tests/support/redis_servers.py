"""Redis servers of a test's own, without a password, which can follow each other."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from app.dev import redis_server
from app.dev.home import Home
from app.dev.instance import fresh_instance
from tests.support.proxy import Proxy
from tests.support.services import ROOT
from tests.support.waiting import wait_until


class Server:
    """One server, on a port and a socket."""

    def __init__(self, binary: Path, folder: Path) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self.socket = folder / f"{self.port}.sock"
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = subprocess.Popen(
            [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", folder,
             "--unixsocket", self.socket, "--repl-diskless-sync", "yes",
             "--repl-diskless-sync-delay", "0"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.client = Redis.from_url(self.url)

    def follow(self, primary: Server) -> None:
        self.client.replicaof("127.0.0.1", primary.port)

    def promote(self) -> None:
        self.client.replicaof("NO", "ONE")

    def is_up(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False


@contextmanager
def starter(folder: Path) -> Iterator[Callable[[], Server]]:
    """A function that starts a server; all of them end with the context."""
    servers: list[Server] = []

    def start() -> Server:
        servers.append(Server(binary, folder))
        wait_until(servers[-1].is_up, what="Redis answers")
        return servers[-1]

    with fresh_instance(Home(ROOT / "var")) as instance:
        binary = redis_server._binary(instance)
        try:
            yield start
        finally:
            for server in servers:
                server.client.close()
                server.process.kill()
                server.process.wait()


def replicated(start: Callable[[], Server]) -> tuple[Server, Server, Proxy]:
    """A primary, its replica, and the address clients know, which leads to the primary."""
    primary, replica = start(), start()
    replica.follow(primary)
    wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up")
    return primary, replica, Proxy(primary.url)


def fail_over(primary: Server, replica: Server, address: Proxy) -> None:
    """New connections lead to the former replica; those that are open stay where they are."""
    replica.promote()
    primary.follow(replica)
    address.lead_to(replica.url)
