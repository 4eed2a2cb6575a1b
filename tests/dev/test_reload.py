"""A change of code while `make run` runs, and what is watched."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from app.dev.code_watch import CodeWatch, job_packages
from tests.support.waiting import wait_until

HANDLER = """
from app.jobs import job

@job("greet")
def greet(payload):
    return "{}"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with a package of the user's beside it."""
    root = tmp_path / "jobqueue"
    for name in ("app/api", "templates", "static", "mine"):
        (root / name).mkdir(parents=True)
    for name in (
        "wsgi.py",
        "app/__init__.py",
        "templates/base.html",
        "loose.py",
        "mine/__init__.py",
    ):
        (root / name).touch()
    (tmp_path / "shop" / "shop").mkdir(parents=True)
    (tmp_path / "shop" / "shop" / "__init__.py").touch()
    return root


@pytest.mark.parametrize(
    ("file", "programs"),
    [
        ("app/api/new.py", {"web", "worker"}),
        ("wsgi.py", {"web", "worker"}),
        ("templates/base.html", {"web"}),
        ("static/new.css", {"web"}),
        ("../shop/shop/jobs.py", {"web", "worker"}),
        ("loose.py", {"web", "worker"}),
        ("mine/jobs.py", {"web", "worker"}),
    ],
)
def test_a_changed_file_restarts_the_programs_that_use_it(project, file, programs):
    environ = {"JOB_MODULES": "shop.jobs, loose,mine.jobs", "PYTHONPATH": "../shop"}
    code = CodeWatch(project, environ)
    taken: set[str] = set()

    def is_noticed() -> bool:
        # As editors save: another file takes the name.
        (project / file).with_suffix(".tmp").write_text(os.urandom(4).hex())
        (project / file).with_suffix(".tmp").replace(project / file)
        changed, example = code.take()
        taken.update(changed)
        return bool(changed) and example == file

    try:
        wait_until(is_noticed, interval=0.1, what="noticed")
    finally:
        code.close()
    assert taken == programs


@pytest.mark.parametrize("file", ["notes.txt", "app/data.bin", "other.py", "var/x.py"])
def test_other_files_restart_nothing(project, file):
    code = CodeWatch(project, {})
    (project / file).parent.mkdir(exist_ok=True)
    (project / "app" / "sign.py").touch()
    seen: set[str] = set()

    def sign_came() -> bool:
        (project / file).write_text(os.urandom(4).hex())
        (project / "app" / "sign.py").write_text(os.urandom(4).hex())
        changed, example = code.take()
        if changed:
            seen.add(example)
        return len(seen) > 0 and example != ""

    try:
        wait_until(sign_came, interval=0.1, what="noticed")
    finally:
        code.close()
    assert seen == {"app/sign.py"}


def test_a_missing_module_is_not_watched(project):
    assert job_packages(project, {"JOB_MODULES": "gone.jobs,app.handlers.trying_out,,"}) == []


@pytest.mark.journey
@pytest.mark.timeout(180)
@pytest.mark.long
def test_a_changed_handler_runs_without_a_restart_by_hand(checkout):
    handler = checkout.folder / "mine.py"
    handler.write_text(HANDLER.format("one"))
    run = checkout.start(JOB_MODULES="mine")
    assert _greet(checkout) == "one"
    wait_until(lambda: checkout.log.count("ready: ") == 1, timeout=30, what="ready")

    handler.write_text("def broken(:")
    wait_until(lambda: "the next change to its code" in checkout.log, timeout=60, what="a line")
    assert run.poll() is None
    handler.write_text(HANDLER.format("two"))

    wait_until(lambda: checkout.log.count("ready: ") == 2, timeout=60, what="up again")
    assert _greet(checkout) == "two"
    assert "mine.py changed; restarting web and worker" in checkout.log
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 0, checkout.log
    assert checkout.processes() == []


def _greet(checkout) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{checkout.port}/api/jobs",
        data=b'{"type": "greet"}',
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        job = json.load(response)

    def result() -> str | None:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{checkout.port}/api/jobs/{job['id']}", timeout=10
        ) as response:
            return json.load(response)["result"]

    return wait_until(result, timeout=30, what="completed")
