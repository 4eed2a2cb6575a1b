"""Lines of the log: JSON with the request or the job, and without secrets."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from app import config, logs
from app.database import engine_options
from app.extensions import db


@pytest.fixture
def lines(test_env: dict[str, str]) -> Any:
    """What a logger of ours writes with LOG_FORMAT=json, read back."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(config.load({**test_env, "LOG_FORMAT": "json"})))
    logger = logging.getLogger("app")
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


def test_a_line_is_a_json_object(lines: Any) -> None:
    logging.getLogger("app.x").warning("two\nlines and %s", "a ž")
    [line] = lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "app.x", "message": "two\nlines and a ž"}


def test_a_line_from_a_handler_names_the_job(lines: Any) -> None:
    with logs.during(jobId="7", jobType="echo", attempt=2):
        logging.getLogger("app.x").warning("inside")
    logging.getLogger("app.x").warning("outside")
    inside, outside = lines()
    assert (inside["jobId"], inside["jobType"], inside["attempt"]) == ("7", "echo", 2)
    assert "jobId" not in outside


def test_a_line_from_a_request_names_the_request(app: Any, lines: Any) -> None:
    with app.test_request_context(headers={"X-Request-Id": "abc-1"}):
        logging.getLogger("app.x").warning("hello")
    assert lines()[0]["requestId"] == "abc-1"


def test_a_traceback_is_a_field(lines: Any) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("app.x").exception("failed")
    assert lines()[0]["traceback"].endswith("ValueError: boom")


def test_parameters_of_statements_are_not_logged(session: Any, lines: Any) -> None:
    try:
        db.session.execute(text("SELECT CAST(:payload AS int)"), {"payload": "hunter2"})
    except SQLAlchemyError as error:
        logging.getLogger("app.x").error("failed", exc_info=error)
        session.rollback()
    [line] = lines()
    assert "parameters hidden" in line["traceback"]


def test_development_logs_text_and_production_json(test_env: dict[str, str]) -> None:
    assert config.load({**test_env, "APP_ENV": "development"}).log_format == "text"
    assert config.load({**test_env, "APP_ENV": "production"}).log_format == "json"


@pytest.mark.parametrize("breaks", ["\n", "\r\n", "\u2028", "\x85", "\x1b[2K\r", "\v", "\x00"])
def test_log_forging_messages_and_errors_can_not_start_a_line(
    test_env: dict[str, str], breaks: str
) -> None:
    formatter = logs.formatter(config.load({**test_env, "LOG_FORMAT": "text"}))
    forged = "2026-01-01 00:00:00,000 INFO app.security sign-in actor=ada"
    try:
        raise ValueError(f"boom{breaks}{forged}")
    except ValueError:
        info = sys.exc_info()
    record = logging.LogRecord(
        "app.x", logging.ERROR, "x.py", 1, "says %s", (breaks + forged,), info
    )
    first, *more = formatter.format(record).splitlines()
    assert first.endswith(forged)
    assert " ERROR app.x says " in first
    assert len(more) > 2
    assert all(line.startswith("  ") for line in more)
    assert "\x1b" not in formatter.format(record)


def test_a_line_of_text_stays_readable(test_env: dict[str, str]) -> None:
    formatter = logs.formatter(config.load({**test_env, "LOG_FORMAT": "text"}))
    record = logging.LogRecord("app.x", logging.INFO, "x.py", 1, "Účet\t„5“ is ready", (), None)
    assert formatter.format(record).endswith("INFO app.x Účet\t„5“ is ready")


def test_sql_echo_logs_statements_with_their_parameters(
    test_env: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = config.load({**test_env, "SQL_ECHO": "1"})
    logger = logging.getLogger("sqlalchemy.engine")
    try:
        logs.configure(settings)
        engine = create_engine(settings.database_url, **engine_options(settings))
        with engine.connect() as connection:
            connection.execute(text("SELECT :value"), {"value": "a parameter"})
        engine.dispose()
    finally:
        logger.setLevel(logging.NOTSET)
    assert "SELECT %(value)s" in caplog.text
    assert "a parameter" in caplog.text
