"""A child process runs its handler as a thread would; what it reports is seen at once, and survives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.worker.child import forking, parent
from app.worker.kernel import Kernel
from tests.support import children
from tests.support.waiting import wait_until


@pytest.fixture
def kernel(make_kernel: Callable[..., Kernel]) -> Kernel:
    return make_kernel(job_modules=("tests.support.handlers",))


@pytest.fixture
def begin(kernel: Kernel, enqueue: Any) -> Iterator[Callable[..., tuple[Any, Callable[[], None]]]]:
    """Starts an attempt in a thread: the job's id, and how to wait for its end."""
    threads: list[threading.Thread] = []

    def begin(payload: dict[str, Any], **columns: Any) -> tuple[Any, Callable[[], None]]:
        job_id = enqueue("act-apart", payload, **columns)
        # A message of a job that is cancelled by now may come first.
        claimed = next(filter(None, (kernel.next() for _ in range(3))))
        assert claimed.id == job_id
        thread = threading.Thread(target=kernel.run, args=[claimed])
        threads.append(thread)
        thread.start()

        def end() -> None:
            thread.join(30)
            assert not thread.is_alive()

        return job_id, end

    yield begin
    kernel.runner.isolation.stop()
    for thread in threads:
        thread.join(10)


def is_gone(pid: int) -> bool:
    """No such process, or nobody has asked for its exit status yet."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def messages(rows: Any) -> Callable[[], list[str]]:
    return lambda: [line.message for line in rows("SELECT message FROM job_log_lines ORDER BY id")]


def test_log_and_progress_are_stored_while_the_handler_runs(
    kernel: Kernel, begin: Any, row: Any, messages: Any, tmp_path: Path
) -> None:
    until = tmp_path / "go"
    job_id, end = begin({"do": "report and wait", "until": str(until)})

    def seen() -> bool:
        kernel.heartbeat.beat()
        return bool(messages() == ["first line", "second line"] and row(job_id).progress)

    wait_until(seen, timeout=20)
    assert row(job_id).status == "processing"
    assert row(job_id).progress == {"percent": 40, "note": "half way, nearly"}
    until.touch()
    end()
    assert row(job_id).status == "completed"
    assert messages() == ["first line", "second line"]  # each once


def test_reports_of_a_child_are_kept_when_it_dies(begin: Any, row: Any, messages: Any) -> None:
    job_id, end = begin({"do": "report and die"})
    end()

    assert (row(job_id).status, row(job_id).attempts, row(job_id).crashes) == ("pending", 0, 1)
    assert messages() == ["first line", "second line"]
    assert row(job_id).progress == {"percent": 40, "note": "half way, nearly"}


@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_cancelled_child_cleans_up_as_a_thread_would(
    kernel: Kernel, begin: Any, row: Any, tmp_path: Path, monkeypatch: Any, is_deaf: bool
) -> None:
    monkeypatch.setattr(parent, "CANCEL_SECONDS", 2.0)
    file = tmp_path / "ledger"
    payload = {"do": "clean up", "file": str(file), "name": "job", "is_deaf": is_deaf}
    job_id, end = begin(payload)
    wait_until(file.exists, timeout=20)
    [attempt] = kernel.runner.attempts.values()
    attempt.context.request_cancel()
    end()

    events = [line.split()[1] for line in file.read_text().splitlines()]
    assert events == ["start", "cancelled", "cleaned"]
    assert row(job_id).status == "cancelled"
    assert "a person asked" in row(job_id).last_error


def test_a_child_that_ignores_its_cancel_is_killed(
    kernel: Kernel, begin: Any, row: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(parent, "CANCEL_SECONDS", 0.3)
    job_id, end = begin({"do": "hold the gil"})
    wait_until(lambda: kernel.runner.attempts)
    [attempt] = kernel.runner.attempts.values()
    attempt.context.request_cancel()
    end()

    assert (row(job_id).status, row(job_id).last_error) == ("cancelled", "Stopped on request.")


def test_processes_of_the_handler_end_with_a_killed_child(
    begin: Any, row: Any, messages: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(parent, "GRACE_SECONDS", 0.0)
    job_id, end = begin({"do": "start a program"}, timeout_seconds=1.0)
    end()

    assert row(job_id).attempts == 1
    wait_until(lambda: is_gone(int(messages()[0])))


def test_the_job_of_a_child_stopped_with_its_worker_is_released(
    kernel: Kernel, begin: Any, row: Any, rows: Any
) -> None:
    job_id, end = begin({"do": "wait for cancel"})
    wait_until(lambda: kernel.runner.isolation._children, timeout=20)
    kernel.begin_stop()
    kernel.finish_stop()
    end()

    assert (row(job_id).status, row(job_id).attempts, row(job_id).crashes) == ("pending", 0, 0)
    [attempt] = rows("SELECT outcome, error FROM job_attempts")
    assert (attempt.outcome, attempt.error) == ("released", "The worker was stopped before this attempt ended.")  # fmt: skip


@pytest.mark.parametrize("victim", ["child", "fork server"])
def test_a_killed_child_or_fork_server_is_a_crash_and_the_next_job_runs(
    begin: Any, row: Any, rows: Any, tmp_path: Path, victim: str
) -> None:
    file = tmp_path / "ledger"
    job_id, end = begin({"do": "clean up", "file": str(file), "name": "job"})
    wait_until(file.exists, timeout=20)
    pid = int(file.read_text().split()[3])
    os.kill(pid if victim == "child" else psutil.Process(pid).ppid(), signal.SIGKILL)
    end()

    assert (row(job_id).status, row(job_id).attempts, row(job_id).crashes) == ("pending", 0, 1)
    assert [r.outcome for r in rows("SELECT outcome FROM job_attempts")] == ["crashed"]
    wait_until(lambda: is_gone(pid))
    rows("UPDATE jobs SET status = 'cancelled', finished_at = now() WHERE id = :id", id=job_id)
    other_id, end_other = begin({"do": "attempt"})
    end_other()
    assert row(other_id).status == "completed"


def test_a_termination_signal_to_the_whole_container_does_not_end_a_child(
    begin: Any, row: Any, tmp_path: Path
) -> None:
    file, until = tmp_path / "ledger", tmp_path / "go"
    payload = {"do": "report and wait", "until": str(until), "file": str(file), "name": "job"}
    job_id, end = begin(payload)
    wait_until(file.exists, timeout=20)
    pid = int(file.read_text().split()[3])
    for process in (pid, psutil.Process(pid).ppid()):
        os.kill(process, signal.SIGTERM)
        os.kill(process, signal.SIGINT)
    until.touch()
    end()

    assert (row(job_id).status, row(job_id).attempts) == ("completed", 1)


def test_a_child_that_can_not_be_started_costs_no_attempt(
    begin: Any, row: Any, rows: Any, monkeypatch: Any
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(parent._Child, "__init__", refuse)
    job_id, end = begin({"do": "attempt"})
    end()

    assert (row(job_id).status, row(job_id).attempts, row(job_id).crashes) == ("pending", 0, 0)
    assert "no more processes" in row(job_id).last_error
    [attempt] = rows("SELECT outcome, error_class FROM job_attempts")
    assert (attempt.outcome, attempt.error_class) == ("released", "ChildUnavailable")


def test_an_outcome_sent_just_before_the_child_ends_counts(
    begin: Any, row: Any, monkeypatch: Any
) -> None:
    """The child may send it and end between two looks: the look at its end must not come last."""
    plain = parent._Child.is_gone.fget
    assert plain

    def after_the_end(child: Any) -> bool:
        child._process.join(10)
        return bool(plain(child))

    monkeypatch.setattr(parent._Child, "is_gone", property(after_the_end))
    job_id, end = begin({"do": "return", "result": 7})
    end()
    assert (row(job_id).status, row(job_id).crashes) == ("completed", 0)


def test_a_fork_server_that_hangs_is_replaced(begin: Any, row: Any, monkeypatch: Any) -> None:
    _, end = begin({"do": "return"})  # there is a fork server now
    end()
    monkeypatch.setattr(forking, "START_SECONDS", 1.0)
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    os.kill(server, signal.SIGSTOP)
    job_id, end = begin({"do": "return"})
    end()
    assert (row(job_id).status, row(job_id).crashes) == ("completed", 0)
    assert is_gone(server)


def test_a_fork_server_that_hangs_ends_with_the_worker(kernel: Kernel, begin: Any) -> None:
    _, end = begin({"do": "return"})
    end()
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    os.kill(server, signal.SIGSTOP)
    kernel.runner.isolation.stop()
    wait_until(lambda: is_gone(server))


@pytest.fixture
def ends_unread(tmp_path: Path, monkeypatch: Any) -> Callable[[str], str]:
    """``ends_unread("is_gone")``: the child ends just before that is asked or done, after the last read.

    Returns the file that the child has to wait for until then.
    """
    until = tmp_path / "go"

    def let_it_end(one: Any) -> None:
        until.touch()
        assert wait([one._process.sentinel], 20)

    def ends_unread(moment: str) -> str:
        original: Any = getattr(parent._Child, moment)

        def is_gone(one: Any) -> Any:
            let_it_end(one)
            return original.fget(one)

        def kill(one: Any) -> None:
            let_it_end(one)
            original(one)

        changed = property(is_gone) if moment == "is_gone" else kill
        monkeypatch.setattr(parent._Child, moment, changed)
        return str(until)

    return ends_unread


def test_an_outcome_sent_after_the_last_read_counts_although_the_child_is_gone(
    begin: Any, row: Any, rows: Any, messages: Any, ends_unread: Any
) -> None:
    job_id, end = begin({"do": "report and wait", "until": ends_unread("is_gone")})
    end()

    assert (row(job_id).status, row(job_id).attempts, row(job_id).crashes) == ("completed", 1, 0)
    assert rows("SELECT outcome FROM job_attempts") == []  # it lists attempts that did not succeed
    assert messages() == ["first line", "second line"]


def test_an_outcome_sent_just_before_the_kill_counts(
    begin: Any, row: Any, monkeypatch: Any, ends_unread: Any
) -> None:
    monkeypatch.setattr(parent, "GRACE_SECONDS", -60.0)  # killed as soon as it runs
    payload = {"do": "report and wait", "until": ends_unread("kill")}
    job_id, end = begin(payload, timeout_seconds=60)
    end()

    assert (row(job_id).status, row(job_id).attempts) == ("completed", 1)


def test_an_incomplete_outcome_counts_as_a_crash(
    begin: Any, row: Any, monkeypatch: Any, ends_unread: Any
) -> None:
    monkeypatch.setattr(parent.process, "main", children.die_inside_its_outcome)
    job_id, end = begin({"until": ends_unread("is_gone")})
    end()

    assert (row(job_id).status, row(job_id).attempts, row(job_id).crashes) == ("pending", 0, 1)
    assert "SIGKILL" in row(job_id).last_error


@pytest.fixture
def hung_server(begin: Any, row: Any) -> Iterator[int]:
    """The pid of a fork server that has started a child and does not answer any more."""
    job_id, end = begin({"do": "stop the fork server"})
    end()
    assert (row(job_id).status, row(job_id).crashes) == ("completed", 0)
    pid = row(job_id).result
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    yield pid
    if not is_gone(pid):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("size", [0, 200_000], ids=["small", "more than a pipe holds"])
def test_a_hung_fork_server_is_replaced_and_the_jobs_that_waited_for_it_run(
    hung_server: int, begin: Any, row: Any, rows: Any, monkeypatch: Any, caplog: Any, size: int
) -> None:
    monkeypatch.setattr(forking, "START_SECONDS", 1.0)
    begun = [begin({"do": "attempt", "filler": "x" * size}) for _ in range(2)]
    for _, end in begun:
        end()

    for job_id, _ in begun:
        assert (row(job_id).status, row(job_id).attempts) == ("completed", 1)
    assert is_gone(hung_server)
    [message] = [r.getMessage() for r in caplog.records if r.name == forking.__name__]
    assert f"The fork server (process {hung_server}) did not start a child within 1 s" in message


def test_a_worker_that_stops_does_not_wait_for_a_hung_fork_server(
    kernel: Kernel, hung_server: int, begin: Any, row: Any, rows: Any
) -> None:
    begun = [begin({"do": "attempt"}) for _ in range(2)]
    wait_until(lambda: len(kernel.runner.attempts) == 2)
    started = time.monotonic()
    kernel.begin_stop()
    kernel.finish_stop()
    for _, end in begun:
        end()

    assert time.monotonic() - started < forking.START_SECONDS
    for job_id, _ in begun:
        assert (row(job_id).status, row(job_id).attempts, row(job_id).crashes) == ("pending", 0, 0)
    attempts = rows("SELECT outcome, error FROM job_attempts")
    assert [(a.outcome, a.error) for a in attempts] == [
        ("released", "The worker was stopped before this attempt ended.")
    ] * 2


def test_a_child_whose_start_was_abandoned_does_not_run_its_job(
    begin: Any, row: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    file = tmp_path / "ledger"
    given_up: list[int] = []
    original = ForkServerProcess.start

    def start(process: Any) -> None:
        original(process)
        if not given_up:
            given_up.append(process.pid)
            give_up_at = time.monotonic() + 2  # time enough to run, if it did not wait
            while not file.exists() and time.monotonic() < give_up_at:
                time.sleep(0.01)
            raise EOFError("the fork server died before it sent the pid")

    monkeypatch.setattr(ForkServerProcess, "start", start)
    payload = {"do": "report and wait", "until": str(tmp_path), "file": str(file), "name": "job"}
    job_id, end = begin(payload)
    end()

    assert row(job_id).status == "completed"
    assert len(file.read_text().splitlines()) == 1
    wait_until(lambda: is_gone(given_up[0]))


def test_a_child_loads_no_dashboard_and_no_api(test_env: dict[str, str]) -> None:
    code = """
import importlib, sys
from app import config, create_app
from app.worker.child import forking
for module in forking.PRELOAD:
    importlib.import_module(module)
create_app(config.load_for_worker(), serves_web=False)
print([m for m in sys.modules if f"{m}.".startswith(("app.dashboard.", "app.api."))])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=test_env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
