"""Validation of form fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from app import json_values
from app.errors import ValidationFailed
from app.jobs.bounds import MAX_PRIORITY, MIN_PRIORITY, PRIORITY_RULE
from app.jobs.bulk import MAX_PER_SECOND
from app.jobs.verbs import VERBS
from app.json_values import MalformedJson
from app.names import NAME, NAME_RULE
from app.security.authentication import require


@dataclass
class FieldForm:
    """A form of several fields: as typed, and its errors by field."""

    values: dict[str, str]
    #: Field of the API, as errors name it → field of the form; others have the same name.
    names: Mapping[str, str]
    errors: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, form: Mapping[str, str], blank: Mapping[str, str], names: Mapping[str, str]
    ) -> Self:
        """The fields of ``blank``, as typed or else as there."""
        return cls({name: form.get(name, value).strip() for name, value in blank.items()}, names)

    def refuse(self, errors: Mapping[Any, Any]) -> None:
        """Put errors by field of the API at the fields of the form; those of no field at its top."""
        for path, texts in errors.items():
            top, _, rest = str(path).partition(".")
            exact = self.names.get(str(path))
            name = exact or self.names.get(top, top)
            name = name if name in self.values else "form"
            prefix = f"{path} " if path and not exact and (rest or name == "form") else ""
            self.errors.setdefault(name, []).extend(f"{prefix}{text}" for text in texts)


def number_of(text: str) -> Any:
    """A number, None for nothing, and anything else as it is, for the rules of a field to refuse."""
    if not text:
        return None
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    return float(text) if re.fullmatch(r"\d{1,18}\.\d{1,9}", text) else text


def priority_of(text: str) -> int:
    """ "-5" → -5. Raises ValidationFailed."""
    is_whole = re.fullmatch(r"[+-]?\d{1,3}", text.strip())
    if not is_whole or not MIN_PRIORITY <= int(text) <= MAX_PRIORITY:
        raise ValidationFailed({"priority": [PRIORITY_RULE]})
    return int(text)


def payload_of(text: str) -> dict[str, Any]:
    """A JSON object; blank is {}. Raises ValidationFailed."""
    try:
        payload = json_values.parse(
            (text or "{}").encode("utf-8", "surrogatepass"), are_keys_unique=True
        )
    except MalformedJson as error:
        raise ValidationFailed(
            {"payload": [f"must be valid JSON: {error.facts['reason']}."]}
        ) from None
    except ValidationFailed as error:
        raise ValidationFailed(
            {
                f"payload.{path}".removesuffix(".body"): texts
                for path, texts in (error.errors or {}).items()
            }
        ) from None
    if not isinstance(payload, dict):
        raise ValidationFailed({"payload": ["must be a JSON object: { … }."]})
    return payload


def check_verb(verb: str) -> None:
    if verb not in VERBS:
        raise ValidationFailed({"verb": [f"must be one of {', '.join(VERBS)}."]})
    require(VERBS[verb].role)


def edit_changes(form: Mapping[str, str]) -> dict[str, Any]:
    """The changes an edit form asks for; empty fields are left out. Raises ValidationFailed."""
    changes: dict[str, Any] = {}
    if form.get("priority", "").strip():
        changes["priority"] = priority_of(form["priority"])
    if queue := form.get("queue", "").strip():
        if not NAME.fullmatch(queue):
            raise ValidationFailed({"queue": [NAME_RULE]})
        changes["queue"] = queue
    if not changes:
        raise ValidationFailed({"priority": ["or queue must be filled in to change jobs."]})
    return changes


def speed_of(form: Mapping[str, str]) -> int | None:
    """How many jobs a second a bulk action may change; None for as many as possible. Raises ValidationFailed."""
    text = form.get("per_second", "").strip()
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_PER_SECOND:
        raise ValidationFailed(
            {"per_second": [f"must be a whole number from 1 to {MAX_PER_SECOND}."]}
        )
    return int(text)
