"""`make run` from outside: up, down, and nothing left, whatever ends it."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request

import pytest

from app.dev import supervisor
from app.dev.instance import free_port
from app.dev.printer import Printer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.journey, pytest.mark.long, pytest.mark.timeout(180)]


def test_it_runs_everything_and_ctrl_c_stops_everything(checkout):
    run = checkout.start(WEB_CONCURRENCY="2")
    wait_until(
        lambda: f"ready: http://127.0.0.1:{checkout.port}" in checkout.log, what="the ready line"
    )
    wait_until(
        lambda: (
            {"web", "worker", "release", "dev"} <= {line.split()[0] for line in _lines(checkout)}
        ),
        what="a line of each program",
    )

    run.send_signal(signal.SIGINT)

    assert run.wait(40) == 0, checkout.log
    assert checkout.processes() == []


def test_a_job_is_run_and_its_record_survives_a_restart(checkout):
    run = checkout.start()
    job = _call(checkout, "/api/jobs", {"type": "echo", "payload": {"a": 1}})
    wait_until(
        lambda: _call(checkout, f"/api/jobs/{job['id']}")["status"] == "completed", what="done"
    )
    run.terminate()
    run.wait(40)

    checkout.start()

    assert _call(checkout, f"/api/jobs/{job['id']}")["result"] == {"a": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_after(checkout, number):
    run = checkout.start()

    run.send_signal(number)

    run.wait(40)
    wait_until(lambda: not checkout.processes(), timeout=40, interval=0.1, what="all ended")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_a_signal_to_make_alone(checkout, number):
    make = checkout.start_make()

    make.send_signal(number)

    make.wait(40)
    wait_until(lambda: not checkout.processes(), timeout=40, interval=0.1, what="all ended")


def test_if_one_program_dies_all_stop(checkout):
    run = checkout.start()
    [worker] = [p for p in checkout.processes() if "huey_consumer" in " ".join(p.cmdline())]

    worker.kill()

    assert run.wait(40) == 1
    assert "worker exited" in checkout.log
    assert checkout.processes() == []


def test_a_taken_port_is_reported_before_anything_starts(checkout):
    with socket.create_server(("127.0.0.1", checkout.port)):
        refused = checkout.dev("run")

    assert refused.returncode == 1
    assert f"Port {checkout.port} is in use" in refused.stdout
    assert not checkout.var.exists()


def test_a_second_run_in_the_same_checkout_is_refused(checkout):
    run = checkout.start()

    refused = checkout.dev("run", PORT="0")

    assert refused.returncode == 1
    assert (
        f"already running at http://127.0.0.1:{checkout.port} (process {run.pid})" in refused.stdout
    )
    assert "starting PostgreSQL" not in refused.stdout


def test_a_second_run_on_the_same_port_says_where_the_first_one_is(checkout):
    checkout.start()

    refused = checkout.dev("run")

    assert refused.returncode == 1
    where = f"already running at http://127.0.0.1:{checkout.port}"
    assert where in refused.stdout
    elsewhere = checkout.dev("run", PORT=str(free_port())).stdout
    assert elsewhere.startswith("error: ")
    assert where in elsewhere


def test_settings_that_development_ignores_are_named(checkout):
    checkout.start(APP_ENV="production", HOST="0.0.0.0")

    assert "APP_ENV=production is ignored: `make run` runs in development mode" in checkout.log
    assert "HOST=0.0.0.0 is ignored" in checkout.log


def test_only_takes_a_program_of_the_procfile(checkout):
    refused = checkout.dev("run", "--only", "wrker")

    assert refused.returncode == 1
    assert refused.stdout == "error: ONLY is 'wrker'; set it to one of web, worker.\n"
    assert not checkout.var.exists()


def test_the_address_is_shown_again_when_it_has_scrolled_away(monkeypatch, capsys):
    monkeypatch.setattr(supervisor, "_answers", lambda url: True)
    monkeypatch.setattr(supervisor, "SECONDS_BETWEEN_ADDRESSES", 0)
    printer = Printer()
    address = supervisor.Address("http://127.0.0.1:1", printer, is_served=True)

    for _ in range(150):
        address.show()
        printer.line("worker", "a line")

    assert capsys.readouterr().out.count("ready: http://127.0.0.1:1") == 3


def test_closing_the_terminal_of_make_run_stops_everything(checkout):
    with checkout.on_terminal("make", "-o", "ready-run", "run") as terminal:
        wait_until(lambda: "ready: " in terminal.text, timeout=60, what="ready")

        terminal.close()

        wait_until(lambda: not checkout.processes(), timeout=40, interval=0.1, what="all ended")
        terminal.wait(10)


def test_a_breakpoint_stops_on_the_terminal_of_make_worker(checkout):
    (checkout.folder / "mine.py").write_text(
        "from app.jobs import job\n\n\n@job('look')\ndef look(payload):\n"
        "    seen = payload['seen']\n    breakpoint()\n    return seen\n"
    )
    checkout.start_make(JOB_MODULES="mine", ONLY="web")
    job = _call(checkout, "/api/jobs", {"type": "look", "payload": {"seen": 1}})
    command = ("make", "-o", "ready-run", "worker")
    with checkout.on_terminal(*command, JOB_MODULES="mine") as terminal:
        wait_until(lambda: "(Pdb) " in terminal.text, timeout=30, what="a prompt")
        terminal.type("seen = 7 * 6")
        terminal.type("continue")

        wait_until(
            lambda: _call(checkout, f"/api/jobs/{job['id']}")["result"] == 42, timeout=30, what="42"
        )
        terminal.close()
        terminal.wait(40)


def test_commands_on_the_development_services(checkout):
    checkout.start_make()
    job = _call(checkout, "/api/jobs", {"type": "echo"})["id"]

    assert "database: PostgreSQL" in checkout.make_output("flask", "ARGS=doctor")
    counted = checkout.make_output(
        "psql", f"ARGS=-Atc \"select 'job ' || type from jobs where id = '{job}'\""
    )
    assert "job echo" in counted
    assert checkout.make_output("redis-cli", "ARGS=echo hello").splitlines()[-1] == "hello"
    assert "(error) " in checkout.make_output("redis-cli", "ARGS=no-such-command")


def test_an_invalid_setting_is_reported_before_anything_starts(checkout):
    refused = checkout.dev("run", LEASE_SECONDS="soon")

    assert refused.returncode == 1
    assert refused.stdout.startswith("error: LEASE_SECONDS is 'soon'")
    assert not checkout.var.exists()


def test_an_ordinary_user_in_a_folder_that_only_they_can_enter(make_checkout, ordinary_user):
    checkout = make_checkout(mode=0o700, identity=ordinary_user)

    run = checkout.start()
    run.send_signal(signal.SIGINT)

    assert run.wait(40) == 0, checkout.log
    assert checkout.processes() == []


def test_the_demo_finds_and_fills_the_running_system(checkout):
    checkout.start()

    # In another terminal, where nobody said PORT.
    demo = checkout.dev("demo", "--seconds", "1", PORT=str(free_port()))

    assert demo.returncode == 0, demo.stdout
    assert "jobs sent" in demo.stdout
    assert sum(_call(checkout, "/api/jobs/stats").values()) > 300
    uses = {
        limit["name"]: limit["types"] + limit["queues"] for limit in _call(checkout, "/api/limits")
    }
    assert uses == {"mail": ["send-email"], "reports": ["reports"]}
    names = [schedule["name"] for schedule in _call(checkout, "/api/schedules")]
    assert names == ["heartbeat", "revenue-report", "slow-import", "weekday-digest"]


def test_the_demo_reports_that_nothing_is_running(checkout):
    refused = checkout.dev("demo")

    assert refused.returncode == 1
    assert "start the system with `make run`" in refused.stdout
    assert "PORT=" in refused.stdout


def _lines(checkout) -> list[str]:
    return [line for line in checkout.log.splitlines() if "|" in line]


def _call(checkout, path: str, body: dict | None = None) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{checkout.port}{path}",
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)
