"""The embedded services: kept data, no collisions, any owner, any folder."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import patience, wait_until

WRITE = (
    "python",
    "-c",
    (
        "import os, psycopg2, redis\n"
        "c = psycopg2.connect(os.environ['DATABASE_URL']); c.autocommit = True\n"
        "c.cursor().execute('CREATE TABLE kept (word text)')\n"
        "redis.Redis.from_url(os.environ['REDIS_URL']).set('kept', 'word')"
    ),
)
READ_LINE = """python -c "
import os, psycopg2, redis
c = psycopg2.connect(os.environ['DATABASE_URL']).cursor()
c.execute('SELECT count(*) FROM kept')
print(redis.Redis.from_url(os.environ['REDIS_URL']).get('kept'), c.fetchone())
" """
READ = (
    "python",
    "-c",
    (
        "import os, psycopg2, redis\n"
        "c = psycopg2.connect(os.environ['DATABASE_URL']).cursor()\n"
        "c.execute('SELECT count(*) FROM kept')\n"
        "print(redis.Redis.from_url(os.environ['REDIS_URL']).get('kept'), c.fetchone())"
    ),
)
HOLD = ("sh", "-c", "echo up; exec sleep 60")
URLS = ("sh", "-c", "echo $DATABASE_URL $REDIS_URL")
pytestmark = [pytest.mark.journey, pytest.mark.long, pytest.mark.timeout(180)]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root has to do")


def test_data_survives_and_the_second_start_is_quick(checkout):
    assert checkout.dev("services", "--", *WRITE).returncode == 0
    began = time.monotonic()

    read = checkout.dev("services", "--", *READ)

    assert "b'word' (0,)" in read.stdout
    assert time.monotonic() - began < 10 * patience()
    assert checkout.processes() == []


def test_fresh_services_are_empty_and_removed_afterwards(checkout):
    checkout.dev("services", "--", *WRITE)

    fresh = checkout.dev("services", "--fresh", "--", *READ)

    assert 'relation "kept" does not exist' in fresh.stdout
    assert not list(checkout.folder.glob("var/*/fresh-*"))


def test_the_exit_code_is_the_commands(checkout):
    assert checkout.dev("services", "--", "sh", "-c", "exit 7").returncode == 7


def test_data_is_private_to_its_owner(checkout):
    checkout.dev("services", "--", *WRITE)
    [state] = _files_named(checkout, "state.json")

    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "mode", [0o700, 0o755]
)  # root keeps data elsewhere, or in var/ as others do
def test_two_copies_of_a_used_checkout_do_not_collide(make_checkout, mode):
    first, second = make_checkout(mode=mode), make_checkout(mode=mode)
    first.dev("services", "--", *WRITE)
    subprocess.run(["cp", "-a", first.var, second.var], check=True)

    code = (
        f"cd {second.folder} && exec python -m app.dev services -- {' '.join(URLS[:2])} '{URLS[2]}'"
    )
    ours = f"{URLS[2]}; unset DATABASE_URL REDIS_URL; ({code}); "
    both = first.dev(
        "services", "--", "sh", "-c", f"{ours} exec python -m app.dev services -- {READ_LINE}"
    )

    assert both.returncode == 0, both.stdout
    one, other, kept = both.stdout.split("\n")[:3]
    assert set(one.split()).isdisjoint(other.split())
    assert kept == "b'word' (0,)"  # the first one's servers run on


@pytest.mark.parametrize(
    ("module", "port", "looks"),
    [("postgres", "postgres_port", "[True]"), ("redis_server", "redis_port", "[True, True]")],
)
def test_a_copy_that_wins_our_port_is_not_taken_for_our_server(make_checkout, module, port, looks):
    # Two copies with the same password and ports that start in the same moment.
    first, second = make_checkout(mode=0o755), make_checkout(mode=0o755)
    first.dev("services", "--", *WRITE)
    subprocess.run(["cp", "-a", first.var, second.var], check=True)
    first.spawn("services", "--", *HOLD)
    wait_until(lambda: "up" in first.log, timeout=60, what="the first one's servers")
    too_early = (
        f"import app.dev.{module} as server; looks = iter({looks}); look = server.is_free; "
        "server.is_free = lambda port: next(looks, None) or look(port)"
    )

    urls = second.dev_after(too_early, "services", "--", *URLS).stdout.split()

    [state] = _files_named(first, "state.json")
    assert len(urls) == 2
    assert not [url for url in urls if f"127.0.0.1:{json.loads(state.read_text())[port]}" in url]


def test_a_command_uses_the_running_services(checkout):
    nested = (
        f"{URLS[2]}; unset DATABASE_URL REDIS_URL; python -m app.dev services -- sh -c '{URLS[2]}'"
    )

    both = checkout.dev("services", "--", "sh", "-c", nested)

    one, other = both.stdout.split("\n")[:2]
    assert one == other != ""


def test_a_pid_file_with_the_pid_of_another_process_is_ignored(checkout):
    checkout.dev("services", "--", *WRITE)
    [version] = _files_named(checkout, "PG_VERSION", parent="postgres")
    # As after a power cut, when the number belongs to somebody else by now: to us.
    version.with_name("postmaster.pid").write_text(f"{os.getpid()}\n{version.parent}\n1\n1\n")

    assert "b'word' (0,)" in checkout.dev("services", "--", *READ).stdout


def test_servers_left_by_a_killed_run_are_stopped_first(checkout):
    held = checkout.spawn("services", "--", *HOLD, has_death_signals=False)
    wait_until(lambda: "up" in checkout.log, timeout=60, what="both up")
    servers = _servers(checkout)
    held.kill()
    held.wait()
    assert _servers(checkout) == servers != []

    assert checkout.dev("services", "--", "true").returncode == 0

    assert not set(servers) & set(checkout.processes())


def test_killing_the_starter_leaves_nothing(checkout):
    held = checkout.spawn("services", "--", *HOLD)
    wait_until(lambda: "up" in checkout.log, timeout=60, what="both up")
    assert len(_servers(checkout)) == 2

    held.kill()
    held.wait()

    wait_until(lambda: not checkout.processes(), timeout=40, interval=0.1, what="all ended")
    assert checkout.dev("services", "--", "true").returncode == 0


@as_root
def test_root_opens_no_folder_to_others(checkout):
    before = _modes(checkout.folder)

    checkout.dev("services", "--", *WRITE)

    assert {
        path: mode for path, mode in _modes(checkout.folder).items() if path in before
    } == before
    elsewhere = (checkout.var / "services").resolve()
    assert checkout.folder not in elsewhere.parents
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700


@as_root
def test_root_keeps_data_in_var_where_the_unprivileged_user_can_enter(make_checkout):
    checkout = make_checkout(mode=0o755)

    assert checkout.dev("services", "--", *WRITE).returncode == 0

    assert not (checkout.var / "services").exists()
    assert _files_named(checkout, "PG_VERSION", parent="postgres")


@as_root
def test_root_finds_its_data_after_the_checkout_moved(checkout):
    checkout.dev("services", "--", *WRITE)
    moved = checkout.folder.with_name(checkout.folder.name + "-moved")
    checkout.folder.rename(moved)
    checkout.folder, checkout.var = moved, moved / "var"

    assert "b'word' (0,)" in checkout.dev("services", "--", *READ).stdout


@as_root
def test_clean_also_removes_the_folder_elsewhere(checkout):
    checkout.dev("services", "--", "true")
    elsewhere = (checkout.var / "services").resolve()

    assert checkout.bootstrap("clean").returncode == 0

    assert not elsewhere.exists()
    assert not checkout.var.exists()


def test_an_ordinary_user_in_a_folder_that_only_they_can_enter(make_checkout, ordinary_user):
    checkout = make_checkout(mode=0o700, identity=ordinary_user)

    assert checkout.dev("services", "--", *WRITE).returncode == 0
    assert "b'word' (0,)" in checkout.dev("services", "--", *READ).stdout
    assert {path.stat().st_uid for path in checkout.var.rglob("*")} == {ordinary_user.uid}


def test_data_of_another_user_is_rejected_in_one_sentence(make_checkout, ordinary_user):
    checkout, other = make_checkout(mode=0o755), make_checkout(identity=ordinary_user, mode=0o755)
    checkout.dev("services", "--", "true")
    checkout.identity, checkout.python = ordinary_user, other.python

    refused = checkout.dev("services", "--", "true")
    checkout.identity = None

    assert refused.returncode == 1
    assert "belongs to another user; run make as that user" in refused.stdout
    assert "Traceback" not in refused.stdout


@pytest.mark.parametrize("given", ["DATABASE_URL", "REDIS_URL"])
def test_one_url_without_the_other_is_an_error(checkout, given):
    absent = {"DATABASE_URL": "REDIS_URL", "REDIS_URL": "DATABASE_URL"}[given]

    refused = checkout.dev("services", "--", "true", **{given: "somewhere://x"})

    assert refused.returncode == 1
    assert f"{given} is set but {absent} is not" in refused.stdout


def test_configured_servers_are_used_and_none_is_started(checkout):
    given = {"DATABASE_URL": "postgresql://a/b", "REDIS_HOST": "c"}

    used = checkout.dev("services", "--", *URLS, **given)

    assert used.stdout.split() == ["postgresql://a/b"]
    assert not checkout.var.exists()


def _files_named(checkout, name: str, parent: str | None = None) -> list[Path]:
    found = [*checkout.var.rglob(name), *(checkout.var / "services").resolve().rglob(name)]
    return [f for f in dict.fromkeys(found) if parent is None or f.parent.name == parent]


def _servers(checkout) -> list[psutil.Process]:
    """The servers' main processes."""
    found = []
    for process in checkout.processes():
        with contextlib.suppress(psutil.Error):  # just ended
            line = " ".join(process.cmdline())
            if " -D " in line or "valkey-server" in line:
                found.append(process)
    return found


def _modes(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mode for path in [folder, *folder.rglob("*")]}
