"""What the log looks like: lines for people in development, JSON for machines elsewhere.

Each JSON line says ``time`` (UTC), ``level``, ``logger``, ``message``, ``traceback`` where there is one, and what it
happened in: ``requestId`` in the web, ``jobId``, ``jobType`` and ``attempt`` in a handler and all it calls.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from flask import has_request_context
from pythonjsonlogger.json import JsonFormatter

from app import request_ids
from app.config import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"

_happening: ContextVar[dict[str, Any] | None] = ContextVar("happening", default=None)


def configure(settings: Settings) -> None:
    """One handler on the root, to stderr; a root that has one already (tests) keeps it."""
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings))
    logging.basicConfig(level=settings.log_level, handlers=[handler])


def formatter(settings: Settings) -> logging.Formatter:
    return _Json() if settings.log_format == "json" else logging.Formatter(TEXT)


@contextmanager
def during(**facts: Any) -> Iterator[None]:
    """Lines logged meanwhile, by this thread, say ``facts``, too."""
    token = _happening.set(facts)
    try:
        yield
    finally:
        _happening.reset(token)


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
        log_data |= _happening.get() or {}
        super().add_fields(log_data, record, message_dict)
