"""The rules of the code that no type checker knows: who imports whom, and who writes a job's status."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APP = ROOT / "app"
FILES = sorted(APP.rglob("*.py"))

GROUND = {
    "clock", "config", "errors", "extensions", "database", "database_errors", "schema", "security", "logs",
    "request_ids", "json_values", "names", "broker", "statement_timeouts", "cache",
}  # fmt: skip
#: Package of app → packages of app that it may import (itself always).
MAY_IMPORT = {
    "config": {"names", "broker"},
    "names": set(),
    "broker": GROUND | {"jobs"},
    "cache": set(),
    "doctor": GROUND | {"jobs"},
    "errors": {"config"},
    "extensions": {"config"},
    "clock": set(),
    "database": {"clock", "config", "errors", "statement_timeouts"},
    "database_errors": {"database", "errors", "extensions", "schema"},
    "schema": {"errors", "extensions"},
    "statement_timeouts": set(),
    "compression": set(),
    "request_ids": set(),
    "json_values": set(),
    "logs": {"config", "request_ids"},
    "security": {"config", "errors", "extensions", "broker"},
    "front": {"config", "errors", "security"},
    "metrics": GROUND | {"jobs"},
    "jobs": GROUND,
    "handlers": {"jobs", "errors", "config"},
    "worker": GROUND | {"jobs"},
    "api": GROUND | {"jobs"},
    "dashboard": GROUND | {"jobs"},
    "own_migrations": {"config", "errors", "extensions"},
    "cli": GROUND | {"jobs", "own_migrations", "doctor"},
    "dev": {"config"},
    "testing": GROUND | {"jobs", "worker", "dev", "own_migrations"},
}
#: Where a process of its own begins, which is why these may make the application.
ENTRY_POINTS = {"app/worker/__init__.py", "app/worker/child/process.py", "app/testing/__init__.py"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_of(path: Path) -> str:
    """``app/jobs/ids.py`` → jobs, ``app/logs.py`` → logs, ``app/__init__.py`` → app."""
    first = path.relative_to(APP).parts[0]
    return "app" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of each import, those inside functions included; ``import a.b`` has no name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from ((str(node.module), alias.name) for alias in node.names)


def imported_packages(path: Path) -> Iterator[str]:
    for module, name in imports(path):
        whole = f"{module}.{name}" if name else module
        if whole.split(".")[0] == "app" and whole not in ("app.__version__", "app.create_app"):
            yield whole.split(".")[1]
        if whole == "app.create_app" and package_of(path) != "app":
            assert name_of(path) in ENTRY_POINTS, f"{path} makes the application"


def test_the_rules_name_every_package() -> None:
    assert {package_of(path) for path in FILES} - {"app"} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_follow_the_arrows(path: Path) -> None:
    own = package_of(path)
    if own == "app":
        return  # wires everything
    wrong = set(imported_packages(path)) - MAY_IMPORT[own] - {own}
    assert not wrong, f"{name_of(path)} imports app.{', app.'.join(sorted(wrong))}"


@pytest.mark.parametrize("path", [p for p in FILES if package_of(p) == "jobs"], ids=name_of)
def test_the_domain_knows_no_request_no_huey_and_no_template(path: Path) -> None:
    modules = {module.split(".")[0] for module, _ in imports(path)}
    assert not modules & {"huey", "jinja2", "redis", "werkzeug"}
    from_flask = {name for module, name in imports(path) if module == "flask"}
    assert from_flask <= {"current_app", "has_app_context"}


def texts(path: Path) -> Iterator[str]:
    """Every string of the file but docstrings, f-strings with their gaps as ?."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values
            )


WRITES_JOBS = re.compile(
    r"\b(?:UPDATE\s+(?:ONLY\s+)?jobs|INSERT\s+INTO\s+jobs|DELETE\s+FROM\s+jobs)\b", re.IGNORECASE
)
#: Progress is no status; see the comment there.
WRITERS_OF_OTHER_COLUMNS = {"app/jobs/reports.py"}


LIFECYCLE = APP / "jobs" / "lifecycle"


def test_lifecycle_writes_jobs() -> None:
    """Proves that the pattern finds something."""
    assert all(
        any(WRITES_JOBS.search(text) for text in texts(LIFECYCLE / name))
        for name in ("enqueue.py", "attempts.py", "people.py", "clock.py")
    )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_lifecycle_writes_jobs(path: Path) -> None:
    writes = [text for text in texts(path) if WRITES_JOBS.search(text)]
    if path.parent == LIFECYCLE:
        return
    if name_of(path) in WRITERS_OF_OTHER_COLUMNS:
        assert not [text for text in writes if re.search(r"\bstatus\s*=\s*'\w+'\s*,", text)]
    else:
        assert not writes


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_object_relational_write_of_a_job(path: Path) -> None:
    tree = ast.parse(path.read_text())
    made = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and _called(n) == "Job"]
    assigned = [
        target
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute) and target.attr == "status"
    ]
    assert not made
    assert not assigned


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_config_reads_the_environment(path: Path) -> None:
    if package_of(path) in ("config", "dev", "testing"):
        return  # these prepare the environment of the programs they start
    reads = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv", "environb")
        and ast.unparse(node.value) == "os"
    ]
    assert not reads
    assert not [name for module, name in imports(path) if module == "os" and "env" in name]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    modules = {module.split(".")[0] for module, _ in imports(path)}
    assert not modules & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"eval", "exec", "compile"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_redis_client_connects_to_redis(path: Path) -> None:
    if name_of(path) == "app/broker/client.py" or package_of(path) in ("dev", "testing"):
        return  # those two start servers of their own
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    names = {ast.unparse(call.func).rpartition(".")[2] for call in calls}
    assert not names & {"Redis", "StrictRedis", "ConnectionPool", "from_url"}


#: Durations on this machine, and what a handler compares with its own clock.
LOCAL_TIME = {"app/doctor.py", "app/jobs/context.py"}


@pytest.mark.parametrize(
    "path", [p for p in FILES if package_of(p) in ("api", "dashboard", "jobs")], ids=name_of
)
def test_only_the_databases_clock_judges(path: Path) -> None:
    if name_of(path) in LOCAL_TIME:
        return
    called = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    assert not called & {"datetime.now", "datetime.utcnow", "time.time", "time.time_ns"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_group_of_a_pattern_is_possessive(path: Path) -> None:
    """Python before 3.11.5 matches ``(a|b)*+`` wrong; ``(?>(a|b)*)`` says the same."""
    texts = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
    assert not [
        t for t in texts if isinstance(t, str) and re.search(r"\)(?:[*+?]|\{[\d,]+\})\+", t)
    ]
