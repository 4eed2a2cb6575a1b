"""An HTTP server on a real socket: answers as configured and records its requests."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    """What a client sent; header names are case-insensitive only through ``header``."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header's value, or None."""
        return {key.lower(): value for key, value in self.headers.items()}.get(name.lower())


@dataclass(frozen=True)
class Answer:
    """What the server sends: after ``delay`` seconds, or nothing at all with ``hang_up``."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hang_up: bool = False


class ScriptedServer:
    """Gives the scripted answers in turn, then 200 ``ok`` for ever."""

    def __init__(self) -> None:
        """Listens on a free port of 127.0.0.1."""
        self.requests: list[Request] = []
        self._script: deque[Answer] = deque()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                owner._serve(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def script(self, *answers: Answer | int) -> None:
        """Queues answers; a bare number is a status."""
        self._script.extend(Answer(status=a) if isinstance(a, int) else a for a in answers)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = dict(handler.headers.items())
        self.requests.append(Request(handler.command, handler.path, headers, body))
        answer = self._script.popleft() if self._script else Answer()
        time.sleep(answer.delay)  # part of the script, not a wait of the test
        if answer.hang_up:
            handler.close_connection = True
            return
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(answer.body)
        except OSError:  # the client gave up first
            handler.close_connection = True

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
