"""A TCP proxy before a service, which a test can cut and mend: the service is then away, for one client only."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Listens on a free port; ``url`` is the service's with that port instead."""

    def __init__(self, url: str) -> None:
        """Forwards to the host and port of ``url``."""
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]
        user = parts.netloc.rpartition("@")[0]
        netloc = f"{user}@127.0.0.1:{self._port}" if user else f"127.0.0.1:{self._port}"
        self.url = urlunsplit(parts._replace(netloc=netloc))
        self._is_cut = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection, and each new one at once."""
        self._flows.set()
        with self._lock:
            self._is_cut = True
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            _end(one)

    def lead_to(self, url: str) -> None:
        """New connections go to ``url``; those that are open stay where they are."""
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 0)

    def stall(self) -> None:
        """Forwards nothing more, and says nothing: a network that swallows packets."""
        self._flows.clear()

    def mend(self) -> None:
        """Forwards again."""
        with self._lock:
            self._is_cut = False
        self._flows.set()

    def close(self) -> None:
        """Ends everything for good."""
        self.cut()
        _end(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            # Cut in this moment, or the service is down: this connection has failed, not the proxy.
            try:
                self._connect(client)
            except OSError:
                _end(client)

    def _connect(self, client: socket.socket) -> None:
        with self._lock:
            if self._is_cut:
                _end(client)
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
        for source, sink in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
        _end(source)
        _end(sink)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
