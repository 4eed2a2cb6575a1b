"""The application in this process on a real port, and a browser tab that tolerates no console error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect
from werkzeug.serving import BaseWSGIServer, make_server

from app import cache
from app.dev.instance import free_port

pytestmark = pytest.mark.browser

#: Limits of what happens at once on a free machine; a green test never waits for them.
PATIENCE_MS = 30_000
#: How long passing time waits for an answer, which a test may hold back on purpose.
ANSWER_SECONDS = 3
expect.set_options(timeout=PATIENCE_MS)

#: Looks once, whatever holds the refresh, and resolves when the answer is in the page.
LOOK = """() => new Promise((done) => {
  const ended = ({ detail }) => {
    if (detail.ctx.sourceElement.id !== "live") return;
    document.removeEventListener("htmx:finally:request", ended);
    setTimeout(done, 0, detail.ctx.response?.status ?? 0);
  };
  document.addEventListener("htmx:finally:request", ended);
  document.dispatchEvent(new CustomEvent("refresh"));
})"""


class Site:
    """The dashboard at ``url``; it can go away and come back on the same port."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._port = free_port()
        self._server: BaseWSGIServer | None = None
        self._running = 0
        self._changed = threading.Condition()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self._port, self._serve, threaded=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Returns when no request runs any more, not even one whose browser has left."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            # Its locks would meet the emptying of the tables.
            with self._changed:
                self._changed.wait_for(lambda: not self._running, timeout=PATIENCE_MS / 1000)

    def _serve(self, environ: Any, start_response: Any) -> Any:
        with self._changed:
            self._running += 1
        try:
            return self._app(environ, start_response)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


class Tab:
    """A page of ours in a real browser, what it asked for and what it complained about."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.page: Page = context.new_page()
        self.site = site
        self.complaints: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda sent: self.requests.append((sent.method, sent.url)))
        self._unanswered: set[Request] = set()
        self.page.on("request", lambda one: self._unanswered.add(one))
        self.page.on("requestfinished", lambda one: self._unanswered.discard(one))
        self.page.on("requestfailed", lambda one: self._unanswered.discard(one))

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: str = "/") -> Page:
        cache.forget()
        self.page.goto(self.site.url + path)
        return self.page

    def look(self) -> int:
        """One refresh of the live region, now; its status."""
        cache.forget()
        status: int = self.page.evaluate(LOOK)
        return status

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Waits for something that this process records, such as a request that is held back."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, f"never happened: {what}"
            self.page.wait_for_timeout(20)

    def expect_focus_in(self, row: str) -> None:
        """Waits until the focus is in the row with this id."""
        expect(self.page.locator(f"tr#{row}:focus-within")).to_have_count(1)

    def next_frame(self) -> None:
        """Waits until the browser has laid out and painted the page as it is now."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def pass_seconds(self, seconds: int) -> None:
        """Time passes at once for a page whose clock is installed."""
        # In steps that wait for answers: the next look is planned when the last one is answered, so an answer
        # that a busy machine brings a step late would make looks rarer, or late for htmx.
        for _ in range(seconds // 2):
            self.page.clock.run_for(2_000)
            self.page.wait_for_timeout(40)
            deadline = time.monotonic() + ANSWER_SECONDS
            while self._unanswered and time.monotonic() < deadline:
                self.page.wait_for_timeout(20)
            self._unanswered.clear()  # what is held back is waited for once

    def excuse(self, *words: str) -> None:
        """Complaints with these words are what this test is about."""
        self.complaints = [one for one in self.complaints if not any(word in one for word in words)]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    cache.forget()
    yield
    cache.forget()


@pytest.fixture
def site(app: Any, session: Any) -> Iterator[Site]:
    """Running."""
    one = Site(app)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    one = browser.new_context(
        viewport={"width": 1280, "height": 800}, timezone_id="Europe/Helsinki"
    )
    one.set_default_timeout(PATIENCE_MS)
    yield one
    one.close()


@pytest.fixture
def tab(context: BrowserContext, site: Site) -> Iterator[Tab]:
    """With scripts. Fails the test if the console complained."""
    one = Tab(context, site)
    yield one
    assert one.complaints == []


@pytest.fixture
def plain_tab(browser: Browser, site: Site) -> Iterator[Tab]:
    """With scripts switched off."""
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": 1280, "height": 800}
    )
    context.set_default_timeout(PATIENCE_MS)
    yield Tab(context, site)
    context.close()
