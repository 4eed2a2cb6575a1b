"""Clients that generators make of the OpenAPI document, compiled and used against a running server.

The generators come from PyPI and npm into var/clients, once. Where a language is not there its test
is skipped and says so.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.api.http.openapi import document
from tests.support.services import ROOT

# Most of the time is the installation of the generators and the start of Java.
pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
TOOLS = ROOT / "var" / "clients"


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def tools() -> Path:
    """A virtual environment with the Python packages, made once and again when the pins change."""
    wanted = (HERE / "requirements.txt").read_text()
    made_for = TOOLS / "made-for.txt"
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made_for.exists() or made_for.read_text() != wanted:
            shutil.rmtree(TOOLS / "venv", ignore_errors=True)
            run(sys.executable, "-m", "venv", TOOLS / "venv")
            run(TOOLS / "venv/bin/pip", "install", "--quiet", "-r", HERE / "requirements.txt")
            made_for.write_text(wanted)
    return TOOLS / "venv" / "bin"


@pytest.fixture
def address(web: Any, consumer: Any) -> str:
    """Of a server, with a worker beside it."""
    consumer()
    url: str = web().url
    return url


@pytest.fixture
def openapi(tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document()))
    return path


def needs(*programs: str) -> None:
    if missing := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")


def test_openapi_python_client(tools: Path, openapi: Path, address: str, tmp_path: Path) -> None:
    output = run(
        tools / "openapi-python-client", "generate", "--path", openapi,
        "--output-path", tmp_path / "client", cwd=tmp_path,
        env={"PATH": f"{tools}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert "Warning" not in output, output  # nothing was left out

    run(
        tools / "python", HERE / "use_openapi_python_client.py", address,
        env={"PYTHONPATH": str(tmp_path / "client")},
    )  # fmt: skip


def test_openapi_generator_python(tools: Path, openapi: Path, address: str, tmp_path: Path) -> None:
    needs("java")
    generate(tools, openapi, "python", tmp_path / "client")

    run(
        tools / "python", HERE / "use_openapi_generator.py", address,
        env={"PYTHONPATH": str(tmp_path / "client")},
    )  # fmt: skip


def test_openapi_generator_java(tools: Path, openapi: Path, address: str, tmp_path: Path) -> None:
    needs("java", "javac")
    options = "--library=native", "--additional-properties=openApiNullable=false"
    generate(tools, openapi, "java", tmp_path / "client", *options)
    [jar] = tools.parent.rglob("openapi-generator.jar")  # brings the libraries the client needs
    sources = (tmp_path / "client" / "src" / "main").rglob("*.java")
    classes = tmp_path / "classes"

    mine = HERE / "Generated.java", HERE / "UseClient.java"
    run("javac", "-d", classes, "-cp", jar, *mine, *sources)
    run("java", "-cp", f"{classes}:{jar}", "UseClient", address)


def test_openapi_generator_go_names(tools: Path, openapi: Path, tmp_path: Path) -> None:
    """No name is declared twice; compiled where there is a Go."""
    needs("java")
    generate(tools, openapi, "go", tmp_path / "client")
    declared = [
        line.split("(")[0].split("{")[0].strip()
        for path in (tmp_path / "client").glob("*.go")
        for line in path.read_text().splitlines()
        if line.startswith(("type ", "func New"))
    ]
    names = [line.split()[1] for line in declared]
    assert len(names) > 50
    assert len(names) == len(set(names))


def test_openapi_typescript(openapi: Path, address: str, tmp_path: Path) -> None:
    needs("node", "npm")
    shutil.copy(HERE / "package.json", tmp_path)
    shutil.copy(HERE / "use_fetch.ts", tmp_path)
    run("npm", "install", "--no-audit", "--no-fund", "--silent", cwd=tmp_path)
    programs = tmp_path / "node_modules" / ".bin"
    run(programs / "openapi-typescript", openapi, "-o", "schema.d.ts", cwd=tmp_path)

    run(
        programs / "tsc", "--strict", "--noUncheckedIndexedAccess", "false", "--target", "es2022",
        "--module", "esnext", "--moduleResolution", "bundler", "use_fetch.ts", cwd=tmp_path,
    )  # fmt: skip
    run("node", "use_fetch.js", address, cwd=tmp_path)


def generate(tools: Path, openapi: Path, language: str, to: Path, *options: str) -> None:
    program = tools / "openapi-generator-cli"
    run(program, "generate", "-i", openapi, "-g", language, "-o", to, *options)
