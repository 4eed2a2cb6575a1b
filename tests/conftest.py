"""Fixtures for every test: real PostgreSQL and Redis, the app on them, real processes.

One pair of services serves the whole run: a parallel run starts it at once, any other run when the
first test needs it. Each parallel worker has its own database (cloned from a migrated template) and
its own Redis database number. Tests commit; afterwards everything they wrote is truncated.

``--fast`` selects the pure tests: see ``tests/support/fast.py``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from redis import Redis

from app.dev import DevError
from app.testing import databases
from tests.support import fast
from tests.support import services as support
from tests.support.waiting import wait_until as _wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.support.http_server import ScriptedServer
    from tests.support.processes import Program, WebServer
    from tests.support.smtp_server import MailServer

_run = ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="pure tests only: no services, no browser")


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts us in the background has SIGINT ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    is_controller_of_parallel_run = bool(getattr(config.option, "numprocesses", None))
    if is_controller_of_parallel_run and not config.option.fast and not config.option.collectonly:
        _start_services()


def pytest_unconfigure() -> None:
    _run.close()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.option.fast and fast.is_skipped(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.fast:
        slow = [item for item in items if not fast.is_pure(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if fast.is_pure(item)]


def _start_services() -> None:
    try:
        _run.enter_context(support.shared_services())
    except DevError as error:
        pytest.exit(str(error), returncode=3)


@pytest.fixture(scope="session")
def running_services() -> None:
    """The PostgreSQL and Redis of this run; the first test that needs them starts them."""
    if support.DATABASE_VARIABLE not in os.environ:
        _start_services()


@pytest.fixture(scope="session")
def database_url(running_services: None, worker_id: str) -> str:
    """This worker's own migrated database."""
    return support.clone_template(f"jobqueue_{worker_id}")


@pytest.fixture(scope="session")
def redis_url(running_services: None, worker_id: str) -> str:
    """This worker's own Redis database (0 without parallel workers)."""
    number = int(worker_id.removeprefix("gw")) + 1 if worker_id.startswith("gw") else 0
    return support.with_path(os.environ[support.REDIS_VARIABLE], str(number))


@pytest.fixture(scope="session")
def test_env(database_url: str, redis_url: str) -> dict[str, str]:
    """The variables our programs run with in tests."""
    return support.test_environment(database_url, redis_url)


@pytest.fixture(scope="session")
def app(test_env: dict[str, str]) -> Any:
    """The Flask application on this worker's database and Redis."""
    from app import config, create_app

    # A busy machine may take longer to answer than the web waits for Redis; tests of that wait make
    # their own publisher.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.broker.publisher.TIMEOUT_SECONDS", 30.0)
        patch.setattr("app.broker.client.CONNECT_SECONDS", 30.0)
        return create_app(config.load(test_env))


@pytest.fixture
def client(app: Any) -> Any:
    """A Flask test client."""
    return app.test_client()


@pytest.fixture
def session(app: Any) -> Iterator[Any]:
    """``db.session`` in an application context; commit what other sessions must see."""
    from app.extensions import db

    with app.app_context():
        yield db.session
        db.session.remove()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of this worker's Redis database, which starts empty."""
    with Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture(autouse=True)
def _leave_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Empties the database and Redis after a test that used them."""
    yield
    # fixturenames includes what was requested indirectly.
    if "database_url" in request.fixturenames:
        databases.empty(request.getfixturevalue("database_url"))
    if "redis_url" in request.fixturenames:
        with Redis.from_url(request.getfixturevalue("redis_url")) as client:
            client.flushdb()


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """See tests/support/waiting.py."""
    return _wait_until


@pytest.fixture
def consumer(test_env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts the Procfile's worker: ``consumer(BACKOFF_BASE="0.1") -> Program``, ready to claim.

    Pass ``base=private.env()`` to run it on other services.
    """
    from tests.support.processes import Program

    programs: list[Program] = []

    def start(*, base: dict[str, str] | None = None, **env: str) -> Program:
        whole = {**(base or test_env), **env}
        log = tmp_path / f"worker-{len(programs)}.log"
        program = Program("worker", whole, log)
        programs.append(program)
        _wait_until(lambda: _is_registered(program, whole), timeout=20, what=f"worker is up: {log}")
        return program

    yield start
    for program in programs:
        program.discard()


def _is_registered(program: Program, env: dict[str, str]) -> bool:
    if not program.is_alive:
        raise RuntimeError(f"worker ended at start:\n{program.output}")
    connection = psycopg2.connect(env["DATABASE_URL"])
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM workers WHERE pid = %s", (program.pid,))
            return cursor.fetchone() is not None
    finally:
        connection.close()


@pytest.fixture
def web(test_env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., WebServer]]:
    """Starts the Procfile's web program on a free port: ``web().url``, answering.

    Pass ``base=private.env()`` to run it on other services.
    """
    from tests.support.processes import WebServer

    programs: list[WebServer] = []

    def start(*, base: dict[str, str] | None = None, **env: str) -> WebServer:
        server = WebServer({**(base or test_env), **env}, tmp_path / f"web-{len(programs)}.log")
        programs.append(server)
        server.wait_until_ready()
        return server

    yield start
    for program in programs:
        program.discard()


@pytest.fixture
def private() -> Iterator[support.PrivateServices]:
    """This test's own PostgreSQL and Redis, to stop, crash and flush."""
    with support.private_services() as services:
        yield services


@pytest.fixture
def http_server() -> Iterator[ScriptedServer]:
    """An HTTP server to call: ``.url``, ``.script(...)``, ``.requests``."""
    from tests.support.http_server import ScriptedServer

    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def smtp_server() -> Iterator[MailServer]:
    """An SMTP server to send to: ``.url``, ``.received``, ``.refuse(...)``."""
    from tests.support.smtp_server import MailServer

    server = MailServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    from tests.support.browser import chromium_path

    path = chromium_path()
    with sync_playwright() as playwright:
        # Chromium's own sandbox doesn't work as root, nor in most containers.
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page with its own cookies."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()
