"""The rules of the code that no type checker knows: who imports whom, and who may do what.

Each rule is a function that yields its violations as ``file: problem``; ``@rule`` lists the known ones.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
APP = ROOT / "app"
LIFECYCLE = APP / "jobs" / "lifecycle"
FILES = sorted(APP.rglob("*.py"))

BASE = {
    "api_paths", "broker", "cache", "clock", "config", "database", "database_errors", "errors", "extensions", "garbage",
    "json_values", "logs", "names", "request_ids", "schema", "statement_timeouts",
}  # fmt: skip
#: Package of app → packages of app that it may import, besides itself. app/__init__.py wires everything.
MAY_IMPORT: dict[str, set[str]] = {
    # nothing of ours
    "api_paths": set(),
    "broker": set(),
    "cache": set(),
    "clock": set(),
    "compression": set(),
    "garbage": set(),
    "names": {"broker"},
    "request_ids": set(),
    "statement_timeouts": set(),
    # the base
    "config": {"broker", "names"},
    "errors": {"config"},
    "extensions": {"config"},
    "json_values": {"errors"},
    "logs": {"config", "request_ids"},
    "schema": {"errors", "extensions"},
    "database": {"clock", "config", "errors", "statement_timeouts"},
    "database_errors": {"database", "errors", "extensions", "schema"},
    "own_migrations": {"config", "errors", "extensions"},
    # the domain, and who is asking
    "jobs": BASE,
    "security": {"api_paths", "broker", "config", "database", "errors", "extensions"},
    # the faces; none of them imports another one
    "handlers": {"jobs"},
    "worker": BASE | {"jobs"},
    "api": BASE | {"jobs", "security"},
    "dashboard": BASE | {"jobs", "security"},
    "front": {"config", "errors", "garbage", "security"},
    "metrics": BASE | {"jobs", "security"},
    "doctor": BASE | {"jobs"},
    "cli": BASE | {"doctor", "jobs", "own_migrations", "security"},
    "dev": {"config"},
    "testing": BASE | {"dev", "jobs", "own_migrations", "worker"},
}
#: Where a process begins. Only these make the application, or import inside a function.
ENTRY_POINTS = {
    "app/__init__.py",
    "app/testing/__init__.py",
    "app/worker/__init__.py",
    "app/worker/child/process.py",
}


class Rule(NamedTuple):
    violations: Callable[[], Iterable[str]]
    known: frozenset[str]


RULES: dict[str, Rule] = {}


def rule(*known: str) -> Callable[[Callable[[], Iterable[str]]], Callable[[], Iterable[str]]]:
    """Declares a rule; ``known`` are the violations that are still there, or that have a reason."""

    def declare(violations: Callable[[], Iterable[str]]) -> Callable[[], Iterable[str]]:
        RULES[violations.__name__] = Rule(violations, frozenset(known))
        return violations

    return declare


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "each" in metafunc.fixturenames:
        metafunc.parametrize("each", RULES.values(), ids=RULES)


def test_the_code_follows(each: Rule) -> None:
    violations = sorted(set(each.violations()) - each.known)
    assert not violations, f"{(each.violations.__doc__ or '').strip()}\n  " + "\n  ".join(
        violations
    )


def test_every_exception_is_needed(each: Rule) -> None:
    gone = sorted(each.known - set(each.violations()))
    assert not gone, f"no longer violated; remove from {each.violations.__name__}: {gone}"


# ------------------------------------------------------------------------------- reading the code


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_of(path: Path) -> str:
    """``app/jobs/ids.py`` → jobs, ``app/logs.py`` → logs, ``app/__init__.py`` → app."""
    first = path.relative_to(APP).parts[0]
    return "app" if first == "__init__.py" else first.removesuffix(".py")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(path: Path, nodes: Iterable[ast.AST] | None = None) -> Iterator[tuple[str, str]]:
    """(module, name) of each import, function-level ones included; ``import a.b`` has no name."""
    for node in nodes_of(path) if nodes is None else nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from ((str(node.module), alias.name) for alias in node.names)


def packages_imported_by(path: Path) -> set[str]:
    """First parts of every module that a file imports: ``redis`` for ``redis.exceptions``."""
    return {module.split(".")[0] for module, _ in imports_of(path)}


def targets_of(path: Path, nodes: Iterable[ast.AST] | None = None) -> set[str]:
    """Modules of app that a file imports; for ``from app import jobs`` that is app.jobs."""
    targets = set()
    for module, name in imports_of(path, nodes):
        if module.split(".")[0] == "app":
            whole = f"{module}.{name}"
            targets.add(whole if whole in MODULES else module)
    return targets


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def strings_of(path: Path) -> Iterator[str]:
    """Every string of the file, f-strings with their gaps as ?."""
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values
            )


def calls_of(path: Path) -> set[str]:
    """Functions that a file calls, as written: ``datetime.now``."""
    return {ast.unparse(node.func) for node in nodes_of(path) if isinstance(node, ast.Call)}


def files_of(*packages: str) -> list[Path]:
    return [path for path in FILES if package_of(path) in packages]


# ---------------------------------------------------------------------------------------- imports


@rule()
def every_package_has_its_arrows() -> Iterator[str]:
    """MAY_IMPORT names every package of app, and no other."""
    yield from {package_of(path) for path in FILES} ^ {"app", *MAY_IMPORT}


@rule()
def imports_follow_the_arrows() -> Iterator[str]:
    """A package imports only what MAY_IMPORT allows; nothing imports upwards."""
    for path in FILES:
        package = package_of(path)
        if package == "app":
            continue
        imported = {target.split(".")[1] for target in targets_of(path) if "." in target}
        for other in imported - MAY_IMPORT[package] - {package}:
            yield f"{name_of(path)}: app.{other}"


@rule()
def only_entry_points_make_the_application() -> Iterator[str]:
    """create_app is called where a process begins, and nowhere else."""
    for path in FILES:
        if name_of(path) not in ENTRY_POINTS and ("app", "create_app") in imports_of(path):
            yield name_of(path)


@rule()
def no_modules_import_each_other() -> Iterator[str]:
    """No cycle, not even through an import inside a function. Imports of create_app don't count."""
    edges = {}
    for module, path in MODULES.items():
        hidden = {
            inner for node in nodes_of(path) if is_type_checking(node) for inner in ast.walk(node)
        }
        edges[module] = targets_of(path, (n for n in nodes_of(path) if n not in hidden)) - {"app"}

    def reachable(start: str) -> set[str]:
        found, todo = set(), [start]
        while todo:
            for target in edges.get(todo.pop(), ()):
                if target not in found:
                    found.add(target)
                    todo.append(target)
        return found

    reach = {module: reachable(module) for module in edges}
    yield from {
        ", ".join(sorted(other for other in reach[module] if module in reach[other]))
        for module in reach
        if len([other for other in reach[module] if module in reach[other]]) > 1
    }


@rule()
def imports_stand_at_the_top() -> Iterator[str]:
    """No import inside a function except where a process begins."""
    for path in FILES:
        if name_of(path) in ENTRY_POINTS:
            continue
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Import | ast.ImportFrom):
                        yield f"{name_of(path)}: {ast.unparse(inner)}"


@rule()
def only_broker_and_dev_import_redis() -> Iterator[str]:
    """Redis is behind app.broker; app.dev and app.testing start a server."""
    for path in FILES:
        if package_of(path) in ("broker", "dev", "testing"):
            continue
        if "redis" in packages_imported_by(path):
            yield name_of(path)


@rule()
def only_the_worker_imports_huey() -> Iterator[str]:
    """Huey runs the worker's threads; nothing else knows it."""
    for path in FILES:
        if package_of(path) != "worker" and "huey" in packages_imported_by(path):
            yield name_of(path)


@rule(
    "app/worker/heartbeat.py",
    "app/worker/inbox.py",
    "app/worker/sweeper/prune.py",
    "app/worker/sweeper/reconcile.py",
    "app/worker/sweeper/sharing.py",
)
def only_some_packages_hold_sql() -> Iterator[str]:
    """SQL texts are in the domain, and in the modules about the database, its schema and credentials."""
    allowed = {
        "database",
        "doctor",
        "jobs",
        "own_migrations",
        "schema",
        "security",
        "statement_timeouts",
    }
    for path in FILES:
        if package_of(path) not in allowed and ("sqlalchemy", "text") in imports_of(path):
            yield name_of(path)


@rule()
def the_lifecycle_knows_no_listing_and_no_statistics() -> Iterator[str]:
    """Changes of a job don't depend on how jobs are listed or counted."""
    for path in FILES:
        if path.is_relative_to(LIFECYCLE):
            for target in targets_of(path):
                if target.startswith(("app.jobs.listing", "app.jobs.statistics")):
                    yield f"{name_of(path)}: {target}"


@rule()
def the_domain_knows_no_request_and_no_template() -> Iterator[str]:
    """app.jobs works without a request: of Flask it uses the application's settings only."""
    for path in files_of("jobs"):
        for package in packages_imported_by(path) & {"huey", "jinja2", "redis", "werkzeug"}:
            yield f"{name_of(path)}: {package}"
        for module, name in imports_of(path):
            if module == "flask" and name not in ("current_app", "has_app_context"):
                yield f"{name_of(path)}: {module}.{name}"


#: What app.dashboard.present may use of app: itself, types and constants of the domain, masking, the clock.
PRESENT_MAY_IMPORT = (
    "app.json_values",
    "app.dashboard.present",
    "app.jobs",
    "app.security.masking",
    "app.clock",
)


@rule()
def present_is_pure() -> Iterator[str]:
    """dashboard/present has no request, no query and no cache: what it shows is passed in."""
    for path in FILES:
        if not path.is_relative_to(APP / "dashboard" / "present"):
            continue
        for package in packages_imported_by(path) & {"flask", "sqlalchemy", "werkzeug"}:
            yield f"{name_of(path)}: {package}"
        for target in targets_of(path):
            if not target.startswith(PRESENT_MAY_IMPORT):
                yield f"{name_of(path)}: {target}"
        for call in calls_of(path):
            if call.startswith(("db.", "session.", "listing.")):
                yield f"{name_of(path)}: {call}"


@rule()
def api_http_knows_no_resource() -> Iterator[str]:
    """api/http is about HTTP and the document; resources and their schemas use it."""
    for path in FILES:
        if path.is_relative_to(APP / "api" / "http"):
            for target in targets_of(path):
                if target.startswith("app.api.resources"):
                    yield f"{name_of(path)}: {target}"


@rule()
def only_broker_connects_to_redis() -> Iterator[str]:
    """One way to connect, with one policy of time-outs and retries."""
    connect = {"Redis", "StrictRedis", "ConnectionPool", "from_url"}
    for path in FILES:
        if name_of(path) == "app/broker/client.py" or package_of(path) in ("dev", "testing"):
            continue  # the latter two start servers of their own
        for call in {call.rpartition(".")[2] for call in calls_of(path)} & connect:
            yield f"{name_of(path)}: {call}"


# --------------------------------------------------------------------------------- who may do what


WRITES_JOBS = re.compile(
    r"\b(?:UPDATE\s+(?:ONLY\s+)?jobs|INSERT\s+INTO\s+jobs|DELETE\s+FROM\s+jobs)\b", re.IGNORECASE
)


def test_the_pattern_of_writes_matches_the_lifecycle() -> None:
    for name in ("enqueue.py", "attempts.py", "people.py", "clock.py"):
        assert any(WRITES_JOBS.search(text) for text in strings_of(LIFECYCLE / name)), name


@rule()
def only_the_lifecycle_writes_jobs() -> Iterator[str]:
    """Every change of a job's row is in app/jobs/lifecycle; progress, which is no status, in reports."""
    for path in FILES:
        if path.is_relative_to(LIFECYCLE):
            continue
        writes = [text for text in strings_of(path) if WRITES_JOBS.search(text)]
        if name_of(path) == "app/jobs/reports.py":
            writes = [text for text in writes if re.search(r"\bstatus\s*=\s*'\w+'\s*,", text)]
        if writes:
            yield name_of(path)


#: Reads or changes pending jobs whatever holds them: counts of all, expiry, types that nobody knows, people's lists, moves.
ALL_PENDING = {
    "app/jobs/lifecycle/clock.py",
    "app/jobs/limits/moves.py",
    "app/jobs/lifecycle/limited.py",
    "app/jobs/lifecycle/undo.py",
    "app/jobs/models/job.py",
    "app/jobs/statistics/counters.py",
    "app/jobs/unknown_types.py",
}
IS_PENDING = re.compile(r"status\b[^=<>]{0,8}=\s*'pending'")


@rule(
    # Scheduled ones are counted whether or not they are under a limit; REF says whether a job is held.
    "app/jobs/statistics/backlog.py: (SELECT run_at FROM jobs WHERE status = 'pending' ORDER BY run_at, id LIMIT 1)",
    "app/jobs/statistics/backlog.py: ) AS counted), soon AS ( SELECT queue, attempts FROM jobs WHERE status = 'pending' AND run",
    "app/jobs/statistics/backlog.py: WITH waiting AS ( SELECT queue, is_retry, n, minute > date_trunc('minute', now(), 'UTC') A",
    "app/worker/inbox.py: SELECT ?, status = 'pending' AS is_pending, NOT ? AS lacks_limit FROM jobs WHERE id = ANY(",
)
def who_reads_pending_jobs_says_what_of_held_ones() -> Iterator[str]:
    """A held job is pending and must not be claimed or published: SQL with status = 'pending' names hold as well."""
    for path in FILES:
        if name_of(path) in ALL_PENDING:
            continue
        for text in strings_of(path):
            if IS_PENDING.search(text) and "jobs" in text and "hold" not in text:
                yield f"{name_of(path)}: {' '.join(text.split())[:90]}"


@rule()
def no_job_is_written_through_an_object() -> Iterator[str]:
    """Jobs change by SQL with guards, never by an assignment that a flush writes."""
    for path in FILES:
        if "Job" in calls_of(path):
            yield f"{name_of(path)}: Job(…)"
        for node in nodes_of(path):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Attribute) and target.attr == "status":
                        yield f"{name_of(path)}: {ast.unparse(node)}"


@rule()
def only_config_reads_the_environment() -> Iterator[str]:
    """dev and testing prepare the environment of the programs they start."""
    for path in FILES:
        if package_of(path) in ("config", "dev", "testing"):
            continue
        for node in nodes_of(path):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("environ", "getenv", "environb")
                and ast.unparse(node.value) == "os"
            ):
                yield f"{name_of(path)}: {ast.unparse(node)}"
        if any(module == "os" and "env" in name for module, name in imports_of(path)):
            yield f"{name_of(path)}: from os"


@rule()
def nothing_is_unpickled_or_evaluated() -> Iterator[str]:
    """Data from outside never becomes code."""
    pickles = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    for path in FILES:
        bad = packages_imported_by(path) & pickles | calls_of(path) & {"eval", "exec", "compile"}
        if bad:
            yield f"{name_of(path)}: {', '.join(sorted(bad))}"


@rule()
def only_the_databases_clock_decides() -> Iterator[str]:
    """Clocks of machines differ: the domain and the faces compare times of the database."""
    local = {"datetime.now", "datetime.utcnow", "time.time", "time.time_ns"}
    for path in files_of("api", "dashboard", "jobs"):
        if name_of(path) == "app/jobs/context.py":
            continue  # what a handler compares with its own clock
        for call in calls_of(path) & local:
            yield f"{name_of(path)}: {call}"


@rule()
def no_group_of_a_pattern_is_possessive() -> Iterator[str]:
    """Python before 3.11.5 matches ``(a|b)*+`` wrong; ``(?>(a|b)*)`` says the same."""
    for path in FILES:
        for text in strings_of(path):
            if re.search(r"\)(?:[*+?]|\{[\d,]+\})\+", text):
                yield f"{name_of(path)}: {text[:60]}"


# -------------------------------------------------------------------------------- size and language


@rule()
def files_are_short() -> Iterator[str]:
    """At most 300 lines, so that a file has one subject."""
    for path in FILES:
        if len(path.read_text().splitlines()) > 300:
            yield name_of(path)


#: This file, and the tests of the migration that replaces a column of that name.
SAY_TOLD = {"test_architecture.py", "test_migrations.py"}


@rule()
def plain_words() -> Iterator[str]:
    """`told` is not how GitHub or Stripe would say it: message, description, spec."""
    texts = [path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"]
    for folder, kinds in (("docs", "*.md"), ("templates", "*"), ("static", "*.[cj]s*")):
        texts += [
            p for p in (ROOT / folder).rglob(kinds) if p.is_file() and "vendor" not in p.parts
        ]
    for folder in ("tests", "benchmarks"):
        texts += [p for p in (ROOT / folder).rglob("*.py") if p.name not in SAY_TOLD]
    for path in FILES + texts:
        if path == APP / "schema.py":
            continue  # names the former column
        if re.search(r"\btold\b", path.read_text(errors="replace"), re.IGNORECASE):
            yield name_of(path)
