"""Job types: declared, found, checked, run."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields

from app.errors import ConfigError, UnknownJobType, ValidationFailed
from app.jobs import Context, registry
from app.jobs.backoff import Backoff
from app.jobs.testing import make_context, run_handler, temporary_types

Job = Callable[..., Callable[..., Any]]


@pytest.fixture
def job() -> Iterator[Job]:
    registry.discover()
    with temporary_types() as decorator:
        yield decorator


class Greeting(Schema):
    name = fields.String(required=True)
    times = fields.Integer(load_default=1)
    tags = fields.List(fields.String())


def greet(payload: dict[str, Any], ctx: Context) -> str:
    """Says hello.

    And more.
    """
    return f"Hello {payload['name']}" * payload.get("times", 1)


def test_a_type_keeps_its_declared_policy(job: Job) -> None:
    policy = Backoff(base=3)
    job(
        "greet",
        queue="mail",
        priority=5,
        max_attempts=8,
        timeout=60,
        backoff=policy,
        max_crashes=0,
        isolate=True,
        schema=Greeting,
    )(greet)
    found = registry.get("greet")
    assert (found.name, found.handler, found.queue, found.priority) == ("greet", greet, "mail", 5)
    assert (found.max_attempts, found.timeout, found.backoff) == (8, 60, policy)
    assert (found.max_crashes, found.isolate) == (0, True)
    assert isinstance(found.schema, Greeting)
    assert found.description == "Says hello."


def test_undeclared_policy_is_left_to_the_settings(job: Job) -> None:
    job("greet")(greet)
    found = registry.get("greet")
    assert (found.queue, found.priority, found.isolate, found.schema) == ("default", 0, False, None)
    assert {found.max_attempts, found.timeout, found.backoff, found.max_crashes} == {None}


def test_the_decorated_function_is_unchanged(job: Job) -> None:
    assert job("greet")(greet) is greet


def test_an_unknown_type_lists_the_known(job: Job) -> None:
    with pytest.raises(UnknownJobType) as caught:
        registry.get("{nope}")
    assert "'{nope}'" in str(caught.value)
    assert "echo, fail, http-request, send-email, sleep" in str(caught.value)
    assert registry.find("nope") is None


def test_all_types_are_listed_by_name(job: Job) -> None:
    job("aaa")(greet)
    names = [job_type.name for job_type in registry.all_types()]
    assert names == sorted(names)
    assert {"aaa", "echo", "fail", "http-request", "send-email", "sleep"} <= set(names)


def test_a_name_taken_by_another_function_is_refused(job: Job) -> None:
    job("greet")(greet)
    job("greet", queue="other")(greet)  # the same one again: a reloaded module
    with pytest.raises(ConfigError, match=r"'greet' is registered twice.*rename one"):
        job("greet")(lambda payload: None)
    assert registry.get("greet").queue == "other"


@pytest.mark.parametrize(
    ("name", "policy", "complaint"),
    [
        ("", {}, "a name must be"),
        ("two words", {}, "a name must be"),
        ("x" * 101, {}, "a name must be"),
        ("greet\n", {}, "a name must be"),
        ("greet", {"queue": ""}, "queue is"),
        ("greet", {"priority": 101}, "priority is"),
        ("greet", {"max_attempts": 0}, "max_attempts is"),
        ("greet", {"timeout": 0}, "timeout is"),
        ("greet", {"timeout": float("nan")}, "timeout is"),
        ("greet", {"max_crashes": -1}, "max_crashes is"),
        ("greet", {"backoff": []}, "backoff is"),
        ("greet", {"backoff": [1, -1]}, "backoff is"),
        ("greet", {"backoff": 5}, "backoff is"),
        ("greet", {"schema": object()}, "schema is"),
    ],
)
def test_a_policy_out_of_range_is_refused(
    job: Job, name: str, policy: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        job(name, **policy)(greet)
    assert registry.find("greet") is None


def test_a_handler_may_leave_out_the_context(job: Job) -> None:
    job("short")(lambda payload: payload["n"] + 1)
    assert run_handler("short", {"n": 1}) == 2


def test_a_handler_with_other_arguments_is_refused(job: Job) -> None:
    for wrong in (lambda: None, lambda payload, ctx, more: None):
        with pytest.raises(ConfigError, match=r"\(payload\) or \(payload, ctx\)"):
            job("wrong")(wrong)


def test_a_coroutine_is_refused(job: Job) -> None:
    async def later(payload: Any) -> None: ...

    with pytest.raises(ConfigError, match="write it with def"):
        job("later")(later)


def test_the_handler_gets_the_payload_as_its_schema_loads_it(job: Job) -> None:
    seen: list[Any] = []
    job("greet", schema=Greeting())(lambda payload, ctx: seen.extend([payload, ctx.payload]))
    run_handler("greet", {"name": "Ada"})
    assert seen == [{"name": "Ada", "times": 1}, {"name": "Ada"}]


def test_a_valid_payload_is_stored_as_it_was_sent(job: Job) -> None:
    job("greet", schema=Greeting)(greet)
    payload = {"name": "Ada", "times": "2"}
    assert registry.validate_payload(registry.get("greet"), payload) is payload


def test_errors_have_paths_and_an_unknown_field_names_the_known(job: Job) -> None:
    job("greet", schema=Greeting)(greet)
    with pytest.raises(ValidationFailed) as caught:
        registry.validate_payload(registry.get("greet"), {"tags": ["a", 1], "nmae": "Ada"})
    assert caught.value.errors == {
        "payload.name": ["Missing data for required field."],
        "payload.tags.1": ["Not a valid string."],
        "payload.nmae": ["is not a field of this type; the fields are: name, tags, times"],
    }


@pytest.mark.parametrize("payload", [[], "text", 1, None])
def test_a_payload_is_an_object(job: Job, payload: Any) -> None:
    with pytest.raises(ValidationFailed) as caught:
        registry.validate_payload(registry.get("echo"), payload)
    assert list(caught.value.errors or {}) == ["payload"]


def test_a_stored_payload_that_does_not_match_the_schema_is_refused(job: Job) -> None:
    job("greet", schema=Greeting)(greet)
    with pytest.raises(
        registry.PayloadRefused, match=r"does not fit greet: payload\.name Missing data"
    ):
        registry.get("greet").run({}, make_context())


def module(folder: Path, name: str, code: str) -> str:
    (folder / f"{name}.py").write_text(code)
    sys.modules.pop(name, None)
    return name


def test_discover_registers_what_the_modules_declare(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = "from app.jobs import job\n@job('found-me')\ndef handler(payload): return 1\n"
    registry.discover([module(tmp_path, "discovered_jobs", code)])
    assert run_handler("found-me") == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [(None, "No module named"), ("1/0", "ZeroDivisionError"), ("def", "SyntaxError")],
)
def test_a_module_that_can_not_be_imported_is_named(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str | None, reason: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    if code is not None:
        module(tmp_path, "broken_jobs", code)
    with pytest.raises(ConfigError, match=f"JOB_MODULES names 'broken_jobs'.*{reason}"):
        registry.discover(["broken_jobs"])


def test_run_handler_refuses_a_result_that_json_cannot_hold(job: Job) -> None:
    job("set")(lambda payload: {1, 2})
    with pytest.raises(TypeError):
        run_handler("set")


def test_run_handler_also_takes_the_function(job: Job) -> None:
    job("greet", schema=Greeting)(greet)
    assert run_handler(greet, {"name": "Ada"}) == "Hello Ada"
    with pytest.raises(LookupError, match="decorate it"):
        run_handler(lambda payload: None)
