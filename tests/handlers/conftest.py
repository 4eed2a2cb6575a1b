"""Servers that misbehave, and one that speaks TLS: all on real sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from app.handlers.sockets.tls import tls_context
from tests.support.http_server import ScriptedServer

Talk = Callable[[socket.socket], None]


class RawServer:
    """Accepts connections and lets ``talk`` say what it likes on each, in a thread."""

    def __init__(self, talk: Talk) -> None:
        self.connections = 0
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._talk(connection)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def raw_server() -> Iterator[Callable[[Talk], RawServer]]:
    """``raw_server(talk)`` starts one."""
    servers: list[RawServer] = []

    def start(talk: Talk) -> RawServer:
        servers.append(RawServer(talk))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[trustme.CA]:
    """A certificate authority that the handlers trust, through SSL_CERT_FILE."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls_context.cache_clear()
    yield made
    tls_context.cache_clear()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """The server's side of TLS, with a certificate for ``name``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def https_server(http_server: ScriptedServer, authority: trustme.CA) -> ScriptedServer:
    """``http_server`` behind TLS, with a certificate for the name localhost only."""
    inner = http_server._server
    inner.socket = server_context(authority, "localhost").wrap_socket(
        inner.socket, server_side=True, do_handshake_on_connect=False
    )
    http_server.url = f"https://localhost:{inner.server_port}"
    return http_server
