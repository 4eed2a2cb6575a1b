"""What the guides show is run: the example package, its tests, the client, the outbox."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.support import services

GUIDE = (Path(services.ROOT) / "docs" / "python.md").read_text()


def block(title: str) -> str:
    """The code that begins with the comment ``# title``."""
    found = re.search(rf"```(?:python|ini)\n# {re.escape(title)}\n(.*?)```", GUIDE, re.DOTALL)
    assert found, f"no code block named {title}"
    return found[1]


def test_the_example_package_passes_its_own_tests(tmp_path: Path, redis_url: str) -> None:
    beside = tmp_path / "shop"
    for name in (
        "shop/jobs.py",
        "shop/models.py",
        "conftest.py",
        "tests/test_jobs.py",
        "pytest.ini",
    ):
        file = beside / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block(name))
    (beside / "shop" / "__init__.py").touch()
    (tmp_path / "jobqueue").symlink_to(services.ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=beside,
        env={
            "PATH": os.environ["PATH"],
            services.DATABASE_VARIABLE: os.environ[services.DATABASE_VARIABLE],
            services.REDIS_VARIABLE: redis_url,
        },
        capture_output=True, text=True, timeout=55,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.fixture
def client_class() -> Any:
    names: dict[str, Any] = {}
    exec(block("jobs_client.py"), names)
    return names["JobsClient"]


def test_the_client_enqueues_once_however_often_it_asks(web: Any, client_class: Any) -> None:
    client = client_class(web().url)
    first = client.enqueue("echo", {"n": 1}, key="order-1", tags=["a"])
    assert client.enqueue("echo", {"n": 1}, key="order-1", tags=["a"])["id"] == first["id"]
    assert client.get(first["id"])["tags"] == ["a"]
    with pytest.raises(ValueError, match="priority"):
        client.enqueue("echo", {}, priority=1000)


def test_the_outbox_sends_each_row_once(
    web: Any, client_class: Any, database_url: str, session: Any
) -> None:
    names: dict[str, Any] = {}
    exec(block("relay.py"), names)
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE outbox (id serial PRIMARY KEY, type text, payload jsonb)")
            cursor.execute("INSERT INTO outbox (type, payload) VALUES ('echo', '{\"n\": 1}')")
        client = client_class(web().url)
        assert [names["relay"](connection, client) for _ in range(2)] == [1, 0]
    finally:
        with connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS outbox")
        connection.close()


def anchors_of(guide: Path) -> set[str]:
    """The anchors of a guide's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", guide.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_of_the_guides_leads_to_a_file_and_a_heading() -> None:
    root = Path(services.ROOT)
    for guide in (*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md"))):
        links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", guide.read_text())
        for target, anchor in links:
            file = guide.parent / target if target else guide
            assert file.exists(), f"{guide.name} links to {target}"
            assert not anchor or anchor in anchors_of(file), f"{guide.name} links to #{anchor}"


def test_the_first_handler_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (Path(services.ROOT) / "README.md").read_text()
    [code] = re.findall(r"```python\n# shop/jobs.py\n(.*?)```", readme, re.DOTALL)
    [body] = re.findall(r"-d '(.*\"resize-image\".*)'", readme)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "jobs.py").write_text(code)
    script = (
        "import json, sys, shop.jobs; from app.jobs.testing import run_handler;"
        "body = json.loads(sys.argv[1]); print(run_handler(body['type'], body['payload']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, body],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{services.ROOT}"},
        capture_output=True, text=True, timeout=55,
    )  # fmt: skip
    assert done.stdout == "{'resized': 2}\n", done.stderr


@pytest.mark.parametrize("guide", ["CONTRIBUTING.md", "docs/architecture.md", "docs/kernel.md"])
def test_every_file_that_a_developers_guide_names_exists(guide: str) -> None:
    root = Path(services.ROOT)
    for name in re.findall(
        r"`((?:app|tests|templates|migrations|docs)/[\w./-]*)`", (root / guide).read_text()
    ):
        assert (root / name).exists(), f"{guide} names {name}"
