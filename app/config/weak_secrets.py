"""Recognizes passwords and keys that are long enough but easy to guess."""

from __future__ import annotations

from functools import cache
from pathlib import Path

#: The 3,000 most common passwords of 8 or more characters, from the frequency lists of zxcvbn (MIT license).
_COMMON = Path(__file__).parent / "common_passwords.txt"
#: What anyone would try here, with or without digits and punctuation.
_OBVIOUS = frozenset(
    ("jobqueue", "jobsqueue", "dashboard", "admin", "administrator", "operator", "viewer", "huey", "worker")
)  # fmt: skip
KEY_CHARACTERS = 32
#: A key with fewer different characters is a pattern.
DIFFERENT_CHARACTERS = 8


def is_common(password: str, name: str) -> bool:
    """Whether attackers try this password first for a person with this name."""
    letters = "".join(character for character in password.casefold() if character.isalpha())
    return (
        password.casefold() in _common() or letters in _OBVIOUS or letters == name.casefold() != ""
    )


def is_short_key(key: str) -> bool:
    """Whether a signing key has too few characters, or too few different characters."""
    return len(key) < KEY_CHARACTERS or len(set(key)) < DIFFERENT_CHARACTERS


@cache
def _common() -> frozenset[str]:
    return frozenset(_COMMON.read_text().split())
