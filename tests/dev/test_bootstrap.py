"""What `make` does before the packages are there: which Python, which packages, said before it takes time."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.dev import bootstrap
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose `python -m venv` and `pip install` only leave marks, in ``calls``."""
    for name in ("run", "dev"):
        (tmp_path / f"requirements-{name}.txt").write_text(f"{name}==1\n")
    calls = tmp_path / "calls"
    calls.touch()

    def call(command: list[str], **options: object) -> int:
        if command[1:3] == ["-m", "venv"]:
            python = Path(command[3]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()
        with calls.open("a") as file:
            file.write(f"{command[2]} {Path(command[-1]).name}\n")
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    return tmp_path


def _calls(root: Path) -> list[str]:
    calls = (root / "calls").read_text().split("\n")[:-1]
    (root / "calls").write_text("")
    return calls


def test_run_installs_its_packages_once_and_prints_the_time_it_took(root, capsys):
    bootstrap.prepare(root, "run", is_chosen=False)
    assert _calls(root) == ["venv .venv", "pip requirements-run.txt"]
    assert "200 MB; 10 to 60 seconds" in capsys.readouterr().out

    bootstrap.prepare(root, "run", is_chosen=False)
    assert _calls(root) == []
    assert capsys.readouterr().out == ""


def test_the_packages_for_tests_come_on_top(root):
    bootstrap.prepare(root, "run", is_chosen=False)
    bootstrap.prepare(root, "dev", is_chosen=False)
    assert _calls(root)[2:] == ["pip requirements-dev.txt"]

    bootstrap.prepare(root, "run", is_chosen=False)
    assert _calls(root) == []


def test_a_changed_lock_is_installed(root):
    bootstrap.prepare(root, "run", is_chosen=False)
    (root / "requirements-run.txt").write_text("run==2\n")

    bootstrap.prepare(root, "run", is_chosen=False)

    assert _calls(root)[2:] == ["pip requirements-run.txt"]


def test_a_failed_installation_is_tried_again(root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "call", lambda command, **_: int("pip" in command))
        with pytest.raises(bootstrap.BootstrapError, match="could not install requirements-run"):
            bootstrap.prepare(root, "run", is_chosen=False)

    bootstrap.prepare(root, "run", is_chosen=False)

    assert _calls(root)[-1] == "pip requirements-run.txt"


def test_another_python_replaces_the_environment_with_a_message(root, monkeypatch, capsys):
    bootstrap.prepare(root, "run", is_chosen=True)
    _calls(root)
    monkeypatch.setattr("sys.base_prefix", "/opt/another")

    bootstrap.prepare(root, "run", is_chosen=False)  # nobody named it: the environment stays
    assert _calls(root) == []
    bootstrap.prepare(root, "run", is_chosen=True)

    assert _calls(root) == ["venv .venv", "pip requirements-run.txt"]
    assert "Rebuilding .venv: it was created with another Python" in capsys.readouterr().out


def test_an_environment_of_another_folder_is_replaced(root, capsys):
    bootstrap.prepare(root, "run", is_chosen=False)
    _calls(root)
    copied = root / ".venv" / "installed.json"
    copied.write_text(json.dumps({**json.loads(copied.read_text()), "path": "/elsewhere/.venv"}))

    bootstrap.prepare(root, "run", is_chosen=False)

    assert _calls(root) == ["venv .venv", "pip requirements-run.txt"]
    assert "it was created for another folder" in capsys.readouterr().out


def test_an_environment_whose_python_was_removed_is_replaced(root, capsys):
    bootstrap.prepare(root, "run", is_chosen=False)
    _calls(root)
    (root / ".venv" / "bin" / "python").unlink()

    bootstrap.prepare(root, "run", is_chosen=False)

    assert _calls(root) == ["venv .venv", "pip requirements-run.txt"]


def test_a_linked_environment_is_used_and_never_deleted(root, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("shared") / "venv"
    (elsewhere / "bin").mkdir(parents=True)
    (elsewhere / "bin" / "python").touch()
    (root / ".venv").symlink_to(elsewhere)
    bootstrap.prepare(root, "run", is_chosen=False)
    assert _calls(root) == ["pip requirements-run.txt"]
    monkeypatch.setattr("sys.base_prefix", "/opt/another")

    bootstrap.prepare(root, "run", is_chosen=True)

    assert not (root / ".venv").is_symlink()
    assert (elsewhere / "bin" / "python").exists()


@pytest.mark.parametrize(
    ("system", "machine", "libc"),
    [
        ("Linux", "ppc64le", ("glibc", "2.36")),
        ("Linux", "x86_64", ("", "")),  # musl
        ("Linux", "x86_64", ("glibc", "2.17")),
        ("Darwin", "x86_64", ("", "")),
    ],
)
def test_missing_servers_are_reported_before_anything_is_installed(
    root, monkeypatch, capsys, system, machine, libc
):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert bootstrap.main(["install", "run", "--servers"]) == 1
    assert _calls(root) == []
    assert "set DATABASE_URL and REDIS_URL to your own servers" in capsys.readouterr().err

    (root / ".env").write_text("DATABASE_URL=postgresql://db/jobs\nREDIS_URL=redis://r\n")
    assert bootstrap.main(["install", "run", "--servers"]) == 0
    assert _calls(root) == ["venv .venv", "pip requirements-run.txt"]


@pytest.mark.parametrize(
    ("system", "machine", "libc"),
    [
        ("Linux", "x86_64", ("glibc", "2.28")),
        ("Linux", "aarch64", ("glibc", "2.41")),
        ("Darwin", "arm64", ("", "")),
    ],
)
def test_platforms_with_embedded_servers(monkeypatch, system, machine, libc):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)

    bootstrap.check_platform()


def test_clean_needs_no_environment_and_removes_everything_created_here(root, monkeypatch):
    for name in (".venv/bin", "var/embedded/dev", ".ruff_cache", "app/__pycache__", "mine"):
        (root / name).mkdir(parents=True)
    monkeypatch.setattr(bootstrap, "ROOT", root)

    assert bootstrap.main(["clean"]) == 0

    assert {path.name for path in root.iterdir() if path.is_dir()} == {"app", "mine"}
    assert list((root / "app").iterdir()) == []


def test_clean_refuses_while_the_checkout_runs(checkout):
    held = checkout.spawn("services", "--", "sh", "-c", "echo up; exec sleep 60")
    wait_until(lambda: "up" in checkout.log, timeout=60, what="both up")

    refused = checkout.bootstrap("clean")

    assert refused.returncode == 1
    assert refused.stdout == "error: This checkout is already running; stop it first.\n"
    assert held.poll() is None
    assert checkout.var.is_dir()


@pytest.mark.parametrize("python", ["python3.99", "false"])
def test_an_unusable_python_is_reported_in_one_line_with_the_fix(python):
    refused = subprocess.run(
        ["make", "run", f"PYTHON={python}"], cwd=ROOT, capture_output=True, text=True
    )

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[0] == (
        f"error: {python} is not a Python from 3.11 to 3.14; choose one with: make run PYTHON=python3.13"
    )


def test_make_takes_the_first_python_that_works(tmp_path):
    # As with pyenv, whose python3 fails where .python-version names one that is not installed.
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "app" / "dev").mkdir(parents=True)
    (tmp_path / "app" / "dev" / "bootstrap.py").write_text("import sys; print(*sys.argv[1:])")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").write_text("#!/bin/sh\necho not installed >&2; exit 127\n")
    (programs / "python3").chmod(0o755)
    for name in ("python3.13", "python3.12"):
        (programs / name).symlink_to(os.path.realpath(sys.executable))

    made = subprocess.run(
        ["make", "ready-run"],
        cwd=tmp_path,
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )

    assert (made.stdout, made.stderr) == ("install run --servers\n", "")
