"""The numbers of a limit as columns of ``limits``, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.jobs.limits.definition import Definition, Rate

#: The columns that an operator may override; ``by_field`` stays the code's.
NUMBERS = (
    "concurrency", "rate_count", "rate_seconds", "burst",
    "key_concurrency", "key_rate_count", "key_rate_seconds", "key_burst",
)  # fmt: skip
COLUMNS = ("by_field", *NUMBERS)


def columns_of(definition: Definition) -> dict[str, Any]:
    """The values of COLUMNS."""
    return {
        "by_field": definition.by,
        "concurrency": definition.concurrency,
        **rate_columns(definition.rate),
        "key_concurrency": definition.key_concurrency,
        **rate_columns(definition.key_rate, prefix="key_"),
    }


def rate_columns(rate: Rate | None, *, prefix: str = "") -> dict[str, Any]:
    """The three columns of a rate; ``prefix`` is "key_" for that of each key."""
    return {
        f"{prefix}rate_count": rate.count if rate else None,
        f"{prefix}rate_seconds": float(rate.per) if rate else None,
        f"{prefix}burst": rate.burst if rate else None,
    }


def definition_of(name: str, columns: Mapping[str, Any]) -> Definition:
    """The definition that these COLUMNS store."""
    return Definition(
        name,
        by=columns["by_field"],
        concurrency=columns["concurrency"],
        rate=_rate(columns, ""),
        key_concurrency=columns["key_concurrency"],
        key_rate=_rate(columns, "key_"),
    )


def _rate(columns: Mapping[str, Any], prefix: str) -> Rate | None:
    count, seconds = columns[f"{prefix}rate_count"], columns[f"{prefix}rate_seconds"]
    if count is None:
        return None
    return Rate(
        count, int(seconds) if seconds == int(seconds) else seconds, columns[f"{prefix}burst"]
    )
