from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from tests.support.processes import WebServer


class Wire:
    """One connection to a server, byte by byte."""

    def __init__(self, url: str, timeout: float = 5) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=timeout)
        self._data = b""

    def send(self, text: str | bytes) -> Wire:
        self.socket.sendall(text.encode() if isinstance(text, str) else text)
        return self

    def post(self, path: str, body: str | bytes = b"", *headers: str) -> Wire:
        """A request with these headers; Content-Length is the caller's business."""
        head = [f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
        self.send("\r\n".join(head))
        return self.send(body)

    def end(self) -> Wire:
        """Nothing more will be sent; answers are still read."""
        with contextlib.suppress(OSError):  # the server may have ended it before us
            self.socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self, *, is_head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, and the body by its Content-Length, of the next answer."""
        while b"\r\n\r\n" not in self._data:
            self._data += self._received()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        size = 0 if is_head else int(headers.get("content-length", 0))
        while len(self._data) < size:
            self._data += self._received()
        body, self._data = self._data[:size], self._data[size:]
        return int(first.split()[1]), headers, body

    def _received(self) -> bytes:
        data = self.socket.recv(65_536)
        assert data, "the connection ended before an answer"
        return data

    def is_over(self) -> bool:
        """Whether the server ends the connection, within the time-out."""
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def server(
    test_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    """The Procfile's web, one process, open to this machine."""
    yield from _serve(test_env, tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def guarded(
    test_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    """The same as in production: whoever comes is asked who they are."""
    yield from _serve(
        {
            **test_env,
            "APP_ENV": "production",
            "SECRET_KEY": "Zq3vT8mLx0RbYw7NcJ5hKd2PfGs9UaEo4t",
            "DASHBOARD_PASSWORD": "correct horse battery",
            "API_TOKENS": "ops:ops-token-0123456789:operator,eye:eye-token-0123456789:viewer",
        },
        tmp_path_factory.mktemp("web"),
    )


def _serve(env: dict[str, str], folder: Path) -> Iterator[WebServer]:
    web = WebServer(env, folder / "web.log")
    try:
        web.wait_until_ready()
        yield web
    finally:
        web.discard()


@pytest.fixture
def stored(database_url: str) -> Iterator[Callable[[], list[str]]]:
    """``stored()``: the ids of the jobs in the database."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True

    def ids() -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM jobs ORDER BY id")
            return [row[0] for row in cursor.fetchall()]

    yield ids
    connection.close()


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    """``wire(server)``: a connection that is closed afterwards."""
    with contextlib.ExitStack() as stack:

        def connect(server: WebServer, timeout: float = 5) -> Wire:
            made = Wire(server.url, timeout)
            stack.callback(made.close)
            return made

        yield connect
