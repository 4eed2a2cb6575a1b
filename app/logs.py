"""The format of the log: text for people in development, JSON for machines elsewhere.

Each JSON line has ``time`` (UTC), ``level``, ``logger``, ``message``, ``traceback`` for an exception, and its context:
``requestId`` in the web server; ``jobId``, ``jobType`` and ``attempt`` in a handler and everything it calls.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from flask import has_request_context
from pythonjsonlogger.json import JsonFormatter

from app import request_ids
from app.config import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"

_context: ContextVar[dict[str, Any] | None] = ContextVar("log_context", default=None)


def configure(settings: Settings) -> None:
    """Log to stderr, unless the root logger already has a handler (in tests).

    Call it before the first engine is created: SQLAlchemy reads its logger's level only then.
    """
    if settings.sql_echo:
        logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings))
    logging.basicConfig(level=settings.log_level, handlers=[handler])


def formatter(settings: Settings) -> logging.Formatter:
    return _Json() if settings.log_format == "json" else _Text(TEXT)


def during(**facts: Any) -> _During:
    """Add ``facts`` to the lines that this thread logs inside the block."""
    return _During(facts)


class _During:
    # Not a generator, which takes three times as long; every job has one.
    __slots__ = ("_facts", "_token")

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts

    def __enter__(self) -> None:
        self._token = _context.set(self._facts)

    def __exit__(self, *_: object) -> None:
        _context.reset(self._token)


class _Text(logging.Formatter):
    """Formats a record so that nothing in it can look like another record: only its first line is not indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _indented(stack_info)


def _printable(text: str) -> str:
    """Line breaks and control characters as escapes, such as ``\\n``."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {_printable(line)}" for line in text.splitlines())


class _Json(JsonFormatter):
    def __init__(self) -> None:
        super().__init__(
            "%(message)s", rename_fields={"exc_info": "traceback"}, json_ensure_ascii=False
        )

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        log_data |= {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if has_request_context():
            log_data["requestId"] = request_ids.current()
        log_data |= _context.get() or {}
        super().add_fields(log_data, record, message_dict)
