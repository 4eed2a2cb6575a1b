"""What people test their handlers with: the same checks as in production, and no services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from marshmallow import Schema, fields

from app.errors import UnknownJobType, ValidationFailed
from app.jobs import Context, Permanent, registry
from app.jobs.testing import make_context, make_settings, run_handler, temporary_types


class Size(Schema):
    px = fields.Integer(load_default=64)


@pytest.fixture(autouse=True)
def types() -> Iterator[Any]:
    registry.discover()
    with temporary_types() as job:

        @job("resize", schema=Size, timeout=7)
        def resize(payload: dict[str, Any], ctx: Context) -> Any:
            ctx.log(f"attempt {ctx.attempt}")
            ctx.progress(50, "half")
            return {"px": payload["px"]}

        @job("odd")
        def odd(payload: dict[str, Any]) -> Any:
            return {1, 2}

        @job("hopeless")
        def hopeless(payload: dict[str, Any]) -> Any:
            raise Permanent("no such file")

        yield {"resize": resize, "odd": odd}


def test_a_handler_runs_by_name_or_function_with_schema_defaults(types: Any) -> None:
    assert run_handler("resize") == {"px": 64}
    assert run_handler(types["resize"], {"px": 5}) == {"px": 5}


def test_a_payload_is_checked_as_by_enqueue() -> None:
    with pytest.raises(ValidationFailed):
        run_handler("resize", {"px": "wide"})


def test_a_result_is_checked_as_in_the_worker() -> None:
    with pytest.raises(TypeError):
        run_handler("odd")


def test_exceptions_of_the_handler_are_raised() -> None:
    with pytest.raises(Permanent, match="no such file"):
        run_handler("hopeless")


def test_the_context_can_be_inspected_afterwards() -> None:
    ctx = make_context("resize", attempt=3)
    run_handler("resize", context=ctx)
    progress, lines = ctx.drain(is_last=True)
    assert progress is not None
    assert (progress["percent"], progress["note"]) == (50, "half")
    assert "attempt 3" in str(lines[0])


def test_an_unregistered_handler_is_named() -> None:
    with pytest.raises(UnknownJobType, match="resise"):
        run_handler("resise")
    with pytest.raises(LookupError, match="decorate it with @job"):
        run_handler(lambda payload: None)


def test_settings_can_be_changed() -> None:
    assert make_settings(max_attempts=9).max_attempts == 9
