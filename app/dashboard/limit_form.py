"""The form of a limit: what was typed, the definition it means, and the errors at its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.dashboard.forms import FieldForm, number_of
from app.jobs.limits.definition import Definition, Rate
from app.jobs.limits.listing import LimitSummary
from app.jobs.limits.numbers import NUMBERS, columns_of

#: Field of the API, which errors name → that of the form.
FORM_NAMES = {
    "rate": "rate_count", "rate.count": "rate_count", "rate.perSeconds": "rate_per", "rate.burst": "burst",
    "perKey": "key_concurrency", "perKey.concurrency": "key_concurrency", "perKey.rate": "key_rate_count",
    "perKey.rate.count": "key_rate_count", "perKey.rate.perSeconds": "key_rate_per", "perKey.rate.burst": "key_burst",
}  # fmt: skip
#: What an empty form contains.
BLANK = {
    "name": "", "by": "", "concurrency": "", "rate_count": "", "rate_per": "1", "burst": "",
    "key_concurrency": "", "key_rate_count": "", "key_rate_per": "1", "key_burst": "",
}  # fmt: skip


def of_form(form: Mapping[str, str]) -> FieldForm:
    """What was typed."""
    return FieldForm.of(form, BLANK, FORM_NAMES)


def of_limit(limit: LimitSummary) -> FieldForm:
    """The form that would change the numbers of ``limit`` as they hold now."""
    now = limit.effective
    values = {
        "name": limit.name,
        "by": now.by or "",
        "concurrency": _text(now.concurrency),
        **_rate_values(now.rate, ""),
        "key_concurrency": _text(now.key_concurrency),
        **_rate_values(now.key_rate, "key_"),
    }
    return FieldForm.of(values, BLANK, FORM_NAMES)


def definition_of(form: FieldForm) -> Definition:
    """The definition that the form means. Numbers that aren't numbers stay text: the rules of limits refuse them."""
    values = form.values
    return Definition(
        values["name"],
        by=values["by"] or None,
        concurrency=number_of(values["concurrency"]),
        rate=_rate(values, ""),
        key_concurrency=number_of(values["key_concurrency"]),
        key_rate=_rate(values, "key_"),
    )


def changes_of(form: FieldForm, limit: LimitSummary) -> dict[str, Any]:
    """The columns of NUMBERS in which the form differs from the numbers that hold now."""
    new, now = columns_of(definition_of(form)), columns_of(limit.effective)
    return {column: new[column] for column in NUMBERS if new[column] != now[column]}


def _rate(values: Mapping[str, str], prefix: str) -> Rate | None:
    count = number_of(values[f"{prefix}rate_count"])
    if count is None:
        return None
    per = number_of(values[f"{prefix}rate_per"])
    return Rate(count, 1 if per is None else per, number_of(values[f"{prefix}burst"]))


def _rate_values(rate: Rate | None, prefix: str) -> dict[str, str]:
    if rate is None:
        return {}
    return {
        f"{prefix}rate_count": _text(rate.count),
        f"{prefix}rate_per": _text(rate.per),
        f"{prefix}burst": _text(rate.burst),
    }


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:.10g}"
