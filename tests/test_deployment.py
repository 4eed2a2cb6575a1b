"""Dockerfile, compose.yaml and .python-version: the same processes, settings and Python as everywhere else."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import config
from app.dev.programs import procfile

ROOT = Path(__file__).resolve().parents[1]
PROCFILE = procfile(ROOT / "Procfile")
OURS = ("release", "web", "worker")


def _dockerfile() -> list[tuple[str, str]]:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line]
    return [
        (word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word != "#"
    ]


def _one(instruction: str) -> str:
    [found] = [rest for word, rest in _dockerfile() if word == instruction]
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return found


def _run(argv: list[str], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs ``argv`` where every program of the Procfile only prints how it was called."""
    shutil.copy(ROOT / "Procfile", folder)
    for program in ("flask", "granian", "huey_consumer"):
        script = folder / program
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" {program} "$@"\n')
        script.chmod(0o755)
    path = f"{folder}:/usr/bin:/bin"
    return subprocess.run(
        argv, cwd=folder, env={"PATH": path, **env}, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", OURS)
def test_the_image_runs_the_processes_of_the_procfile(tmp_path, name):
    entry = json.loads(_one("ENTRYPOINT"))
    env = {"PORT": "8080", "WEB_CONCURRENCY": "3"}

    image = _run([*entry, name], tmp_path, **env)
    platform = _run(["/bin/sh", "-c", f"exec {PROCFILE[name]}"], tmp_path, **env)

    assert image.stdout == platform.stdout != ""
    assert (image.returncode, image.stderr) == (0, "")


def test_another_process_is_refused(tmp_path):
    refused = _run([*json.loads(_one("ENTRYPOINT")), "wrker"], tmp_path)

    assert refused.returncode != 0
    assert "is not in the Procfile: wrker" in refused.stderr


def test_the_image_is_small_and_not_root(tmp_path):
    words = [word for word, _ in _dockerfile()]

    assert json.loads(_one("CMD")) == ["web"]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in ("RUN", "COPY"))
    assert _one("USER") not in ("root", "0")
    assert "pip install -r requirements.txt" in [
        rest for word, rest in _dockerfile() if word == "RUN"
    ]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", ".env", "var"} <= set(ignored)
    assert not {"app", "migrations", "static", "templates", "wsgi.py", "Procfile"} & set(ignored)


def test_the_health_check_asks_the_port_that_the_web_has(http_server):
    http_server.script(200, 503)
    command = _one("HEALTHCHECK").partition("CMD ")[2]
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PORT": http_server.url.rpartition(":")[2],
    }

    well, ill = (
        subprocess.run(json.loads(command), env=env, stderr=subprocess.DEVNULL) for _ in "ab"
    )

    assert (well.returncode, ill.returncode) == (0, 1)
    assert {request.path for request in http_server.requests} == {"/health"}


def test_one_python_for_platforms_and_the_image():
    version = (ROOT / ".python-version").read_text()

    assert re.fullmatch(r"3\.\d+\n", version), "platforms take the newest patch release of it"
    assert _one("FROM") == f"python:{version.strip()}-slim"
    assert 11 <= int(version.split(".")[1]) <= 14


@pytest.mark.parametrize("name", OURS)
def test_compose_runs_each_process(services, name):
    service = services[name]

    assert service["command"] == name in PROCFILE
    assert service["build"] == "."


def test_compose_migrates_before_anything_serves(services):
    for name in ("web", "worker"):
        wanted = services[name]["depends_on"]
        assert wanted["release"] == {"condition": "service_completed_successfully"}
        assert wanted["redis"] == {"condition": "service_healthy"}
    assert services["release"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert services["release"]["restart"] == "no"


def test_compose_gives_a_worker_the_time_to_finish(services):
    drain = int(re.search(r"-t (\d+)", PROCFILE["worker"])[1])  # type: ignore[index]

    assert int(services["worker"]["stop_grace_period"].removesuffix("s")) >= drain + 5


def test_compose_holds_no_secret_and_is_open_to_this_machine_only(services):
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD", variable):
                assert re.fullmatch(rf"\$\{{{variable}:\?[^}}]+\}}", value), f"{name}: {variable}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not services["worker"]["environment"].keys() & {
        "SECRET_KEY",
        "DASHBOARD_PASSWORD",
        "API_TOKENS",
    }


@pytest.mark.parametrize("name", OURS)
def test_compose_sets_real_settings_that_start(services, name):
    made = {
        name: secrets.token_urlsafe(32)
        for name in ("SECRET_KEY", "DASHBOARD_PASSWORD", "POSTGRES_PASSWORD")
    }
    env = {
        variable: re.sub(r"\$\{(\w+):[?-][^}]*\}", lambda m: made.get(m[1], ""), value)
        for variable, value in services[name]["environment"].items()
    }

    settings = config.load(env)

    assert set(env) <= {
        *(f.upper() for f in config.Settings.__dataclass_fields__),
        "DASHBOARD_PASSWORD",
    }
    if name == "web":
        config.check_access(settings)


@pytest.mark.parametrize("name", ["release", "run"])
def test_only_serving_needs_credentials(test_env, name):
    arguments = {"release": ["doctor"], "run": ["run", "--port", "0"]}[name]
    env = {**test_env, "APP_ENV": "production", "SECRET_KEY": ""}

    done = subprocess.run(
        [Path(sys.executable).parent / "flask", "--app", "wsgi", *arguments],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=50,
    )  # fmt: skip

    refused = "Cannot start: SECRET_KEY is not set" in done.stderr
    assert refused == (name == "run")


def test_a_users_package_is_not_checked_for_the_style_of_this_project(tmp_path):
    for folder in ("app", "shop"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "jobs.py").write_text("import os, sys\nx = [ 1 ]\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ruff = Path(sys.executable).parent / "ruff"

    checked = subprocess.run(
        [ruff, "check", "--no-cache", "--output-format", "concise", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    formatted = subprocess.run(
        [ruff, "format", "--check", "--no-cache", "."], cwd=tmp_path, capture_output=True, text=True
    )

    for output in (checked.stdout, formatted.stdout):
        assert os.path.join("app", "jobs.py") in output
        assert "shop" not in output
