"""Limits between the API's JSON, definitions, and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.jobs.limits.definition import Definition, Rate
from app.jobs.limits.listing import KeySummary, LimitSummary
from app.jobs.limits.numbers import COLUMNS, definition_of, rate_columns
from app.jobs.statistics.count import Count
from app.json_values import iso


def definition_from(name: str, body: Mapping[str, Any]) -> Definition:
    """The definition that the body of a PUT gives."""
    per_key = body.get("per_key") or {}
    return Definition(
        name,
        by=body.get("by"),
        concurrency=body.get("concurrency"),
        rate=_rate(body.get("rate")),
        key_concurrency=per_key.get("concurrency"),
        key_rate=_rate(per_key.get("rate")),
    )


def changed_columns(body: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of limits that the body of a PATCH changes."""
    columns: dict[str, Any] = {}
    if "by" in body:
        columns["by_field"] = body["by"]
    if "concurrency" in body:
        columns["concurrency"] = body["concurrency"]
    if "rate" in body:
        columns |= rate_columns(_rate(body["rate"]))
    if "per_key" in body:
        per_key = (
            {"concurrency": None, "rate": None} if body["per_key"] is None else body["per_key"]
        )
        if "concurrency" in per_key:
            columns["key_concurrency"] = per_key["concurrency"]
        if "rate" in per_key:
            columns |= rate_columns(_rate(per_key["rate"]), prefix="key_")
    return columns


def as_json(limit: LimitSummary) -> dict[str, Any]:
    """What the schema LIMIT renders."""
    return {
        **vars(limit),
        **_numbers(limit.definition),
        "by": limit.definition.by,
        "override": _override(limit),
        "effective": _numbers(limit.effective),
        "waiting": _count(limit.waiting),
        "keys_waiting": _count(limit.keys_waiting),
        "moves": [vars(move) for move in limit.moves],
        "is_paused": limit.is_paused,
    }


def key_as_json(key: KeySummary) -> dict[str, Any]:
    """What the schema LIMIT_KEY renders."""
    return {**vars(key), "waiting": _count(key.waiting), "is_paused": key.is_paused}


def _rate(given: Mapping[str, Any] | None) -> Rate | None:
    if given is None:
        return None
    return Rate(given["count"], given["per_seconds"], given.get("burst"))


def _numbers(definition: Definition) -> dict[str, Any]:
    return {
        "concurrency": definition.concurrency,
        "rate": _rate_as_json(definition.rate),
        "per_key": {
            "concurrency": definition.key_concurrency,
            "rate": _rate_as_json(definition.key_rate),
        },
    }


def _rate_as_json(rate: Rate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {"count": rate.count, "per_seconds": rate.per, "burst": rate.burst}


def _override(limit: LimitSummary) -> dict[str, Any] | None:
    """Only the fields that an operator set, with the names of JSON."""
    if not limit.override:
        return None
    set_to = definition_of(limit.name, {**dict.fromkeys(COLUMNS), **limit.override})
    override: dict[str, Any] = {}
    if "concurrency" in limit.override:
        override["concurrency"] = set_to.concurrency
    if "rate_count" in limit.override:
        override["rate"] = _override_rate(set_to.rate)
    per_key: dict[str, Any] = {}
    if "key_concurrency" in limit.override:
        per_key["concurrency"] = set_to.key_concurrency
    if "key_rate_count" in limit.override:
        per_key["rate"] = _override_rate(set_to.key_rate)
    if per_key:
        override["perKey"] = per_key
    return {**override, "by": limit.overridden_by, "at": iso(limit.overridden_at)}


def _override_rate(rate: Rate | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    return {"count": rate.count, "perSeconds": rate.per, "burst": rate.burst}


def _count(count: Count) -> dict[str, Any]:
    return {"count": int(count), "is_exact": count.is_exact}
