"""Readers of environment variables: ``number(int, 5, 1, 100)`` is a function of (env, name)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Environment = Mapping[str, str]
Reader = Callable[[Environment, str], Any]


class ConfigError(Exception):
    """A setting is missing or invalid; the message is a single sentence with the variable and the fix."""


def setting(read: Reader, *, variable: str = "") -> Any:
    """A field of Settings that ``read`` fills from ``variable`` (default: the field's name in upper case)."""
    return field(metadata={"read": read, "variable": variable})


def is_development(env: Environment) -> bool:
    """Whether APP_ENV is development or test, which have other defaults."""
    return (text(env, "APP_ENV") or "production") != "production"


def text(env: Environment, name: str) -> str | None:
    """The value without leading and trailing spaces; None if unset or empty."""
    return env.get(name, "").strip() or None


def names(env: Environment, name: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(part.strip() for part in env.get(name, "").split(",") if part.strip())


def choice(allowed: tuple[str, ...], default: str) -> Reader:
    """One of ``allowed``."""

    def read(env: Environment, name: str) -> str:
        value = text(env, name) or default
        if value not in allowed:
            raise ConfigError(f"{name} is {value!r}; set it to one of {', '.join(allowed)}.")
        return value

    return read


def flag(default: bool) -> Reader:
    """1 or 0, or true/false, yes/no, on/off."""

    def read(env: Environment, name: str) -> bool:
        value = (text(env, name) or "").lower()
        if value in ("1", "true", "yes", "on"):
            return True
        if value in ("0", "false", "no", "off"):
            return False
        if value:
            raise ConfigError(f"{name} is {value!r}; set it to 1 or 0.")
        return default

    return read


def number(
    kind: type[int] | type[float],
    default: float | None,
    low: float,
    high: float,
    *,
    is_zero_none: bool = False,
) -> Reader:
    """An int or a float from ``low`` to ``high``; ``is_zero_none`` reads 0 as None."""

    def read(env: Environment, name: str) -> float | None:
        value = text(env, name)
        if value is None:
            return default if default is None else kind(default)
        try:
            result = kind(value)
            if not low <= result <= high:
                raise ValueError
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise ConfigError(
                f"{name} is {value!r}; set it to {expected} from {low:g} to {high:g}."
            ) from None
        return None if is_zero_none and result == 0 else result

    return read


def path(default: Path | None) -> Reader:
    """A file or folder, which does not have to exist."""
    return lambda env, name: Path(value) if (value := text(env, name)) else default


def check_address(name: str, url: str, example: str) -> None:
    """Raises ConfigError unless ``url`` has a valid port or no port."""
    # The message does not repeat the value, which may contain a password.
    try:
        is_valid = urlsplit(url).port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ConfigError(f"{name} has no usable host and port; set it to {example}.")
