"""Which names sound like secrets, and the one place where what they name is masked."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

MASK = "••••••"
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|^pw$|secret|(^|[_-])tokens?$|api[_-]?key|private[_-]?key|access[_-]?key|credential|authorization"
    r"|^auth$|^cookie$|^set-cookie$|signature$|^cvv$|^cvc$|^ssn$|card[_-]?number",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a field called so is masked in the dashboard and in logs: password, api_key, accessToken …"""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return _SECRET_NAME.search(snake) is not None


def masked(value: Any) -> Any:
    """The JSON value with whatever is named like a secret replaced."""
    if isinstance(value, dict):
        return {key: MASK if is_secret_name(key) else masked(inner) for key, inner in value.items()}
    return [masked(inner) for inner in value] if isinstance(value, list) else value
