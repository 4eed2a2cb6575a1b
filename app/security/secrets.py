"""Which names sound like secrets, and the one place where what they name is masked.

Masking is for reading: in the dashboard for everyone, in the API for viewers. It goes by names, in JSON and in
text (URLs, forms, headers, JSON in strings), and by what looks like a token whatever its name. It errs towards masking.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

MASK = "••••••"
#: A name is judged by so many of its first characters; longer ones are no names.
NAME_CHARACTERS = 200
#: A text with something like a secret in it is looked at up to here, and masked from here on.
TEXT_CHARACTERS = 100_000

#: Secret wherever they stand in a name, written in letters alone.
_PARTS = re.compile(
    "passw|passphrase|passcode|passkey|userpass|dbpass|pwd|pswd|secret|credential|bearer|authoriz|cookie|signature|mnemonic"
    "|seedphrase|kennwort|accesstoken|refreshtoken|authtoken|apitoken|(access|auth|security|recovery|backup|verification|onetime|login)code"
    "|(api|access|private|priv|signing|signature|encryption|decryption|master|shared|service|license|ssh|gpg|pgp|aes|hmac|rsa|session|storage"
    "|account|deploy|webhook|subscription)keys?(?!board)|sess(ion)?id|connection(string|uri|url)|connstr|cardnumber|creditcard|csrf|xsrf"
    "|tokens?$"
)
#: Secret as a word of its own: in the middle of other words they mean nothing.
_WORDS = frozenset(
    [
        "pass",
        "pw",
        "pin",
        "otp",
        "totp",
        "mfa",
        "jwt",
        "dsn",
        "cvv",
        "cvc",
        "ssn",
        "psk",
        "sid",
        "sig",
        "tan",
        "auth",
        "oauth",
        "token",
    ]
)
#: A number of tokens is none.
_HARMLESS_ENDS = frozenset(
    ["count", "counts", "limit", "usage", "budget", "type", "expires", "expiry", "ttl"]
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

#: Keys of an object that name what stands beside them, and the keys of what they name.
_NAMING = frozenset(
    ["name", "key", "header", "field", "k", "label", "param", "parameter", "variable", "option"]
)
_NAMED = frozenset(["value", "values", "val", "v", "content", "data", "text", "default", "body"])

#: Without one of these there is nothing to mask in a text. Searched one by one: much faster than a pattern.
_HINTS = (
    "pass",
    "pw",
    "pswd",
    "secret",
    "credential",
    "bearer",
    "basic",
    "auth",
    "cookie",
    "signature",
    "sig",
    "mnemonic",
    "seed",
    "kennwort",
    "token",
    "code",
    "key",
    "sess",
    "sid",
    "connection",
    "conn",
    "card",
    "csrf",
    "xsrf",
    "pin",
    "otp",
    "mfa",
    "jwt",
    "dsn",
    "cvv",
    "cvc",
    "ssn",
    "psk",
    "tan",
    "eyj",
    "://",
    "%",
    "-----begin",
)
#: A name of at most two words and what stands between it and its value. The possessive quantifiers keep it linear.
_NAME = re.compile(
    r"(?<![\w%-])([\w%][\w.%\[\]-]{0,99}+(?: [\w%][\w.%\[\]-]{0,99}+)?)\\*+[\"']?\s{0,3}+(=>|[:=])\s{0,3}+"
)
_QUOTED = re.compile(r"\\*+(\"[^\"\n]*+|'[^'\n]*+)")
_REST_OF_LINE = re.compile(r"[^\n\"'}]*+")
_BARE = re.compile(r"[^\s&;,\"'}]*+")
#: Secrets by their looks: the user information of a URL, credentials of a header, a JSON Web Token, a private key.
_LOOKS = (
    (re.compile(r"(://[^\s/?#@:\"']{0,200}+:)[^\s/?#@\"']{1,500}+(?=@)"), rf"\1{MASK}"),
    (re.compile(r"(://)[^\s/?#@:\"']{16,500}+(?=@)"), rf"\1{MASK}"),
    (re.compile(r"\b(Bearer|Basic)(\s{1,3}+)[\w.~+/=-]{6,}+", re.IGNORECASE), rf"\1\2{MASK}"),
    (re.compile(r"\beyJ[\w-]{8,}+\.[\w-]{4,}+(\.[\w-]*+)?"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]*+(-----END [A-Z ]{0,40}-----)?"), MASK),
)  # fmt: skip


def is_secret_name(name: str) -> bool:
    """Whether a field called so is masked in the dashboard and in logs: password, api_key, accessToken …"""
    return _is_secret_name(name[:NAME_CHARACTERS])


@lru_cache(maxsize=4096)
def _is_secret_name(name: str) -> bool:
    name = unicodedata.normalize("NFKC", name)
    words = [word.lower() for word in _WORD.findall(name)]
    is_harmless = bool(words) and words[-1] in _HARMLESS_ENDS
    if not is_harmless and any(word in _WORDS for word in words):
        return True
    letters = "".join(character for character in name.lower() if "a" <= character <= "z")
    return letters in _WORDS or _PARTS.search(letters) is not None


def masked(value: Any) -> Any:
    """The JSON value with whatever is named, or looks, like a secret replaced."""
    try:
        return _masked(value)
    except RecursionError:
        return MASK


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        named = _named_beside(value)
        return {
            key: MASK if is_secret_name(key) or key in named else _masked(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return _masked_list(value)
    return _masked_text(value) if isinstance(value, str) else value


def _named_beside(value: dict[str, Any]) -> set[str]:
    """Keys whose value another key names as a secret: {"name": "Authorization", "value": …}."""
    is_named = any(
        isinstance(inner, str) and key.lower() in _NAMING and is_secret_name(inner)
        for key, inner in value.items()
    )
    if not is_named:
        return set()
    others = {key for key in value if key.lower() not in _NAMING}
    return others if len(others) == 1 else {key for key in others if key.lower() in _NAMED}


def _masked_list(values: list[Any]) -> list[Any]:
    result = []
    for index, inner in enumerate(values):
        before = values[index - 1] if index else None
        # ["Authorization", …] and ["--password", …]
        is_named = isinstance(before, str) and (len(values) == 2 or before.startswith("-"))
        result.append(MASK if is_named and is_secret_name(str(before)) else _masked(inner))
    return result


def _masked_text(text: str) -> str:
    lowered = unicodedata.normalize("NFKC", text).lower() if not text.isascii() else text.lower()
    if not any(hint in lowered for hint in _HINTS):
        return text
    if text.lstrip()[:1] in ("{", "["):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            pass  # text that only begins like JSON
        else:
            result = masked(parsed)
            return text if result == parsed else json.dumps(result, ensure_ascii=False)
    head, tail = text[:TEXT_CHARACTERS], text[TEXT_CHARACTERS:]
    return _without_pairs(_without_looks(head)) + (MASK if tail else "")


def _without_looks(text: str) -> str:
    for looks, replacement in _LOOKS:
        text = looks.sub(replacement, text)
    return text


def _without_pairs(text: str) -> str:
    parts, done, at = [], 0, 0
    while found := _NAME.search(text, at):
        at = found.end()
        if not is_secret_name(unquote(found[1])):
            continue
        quoted = _QUOTED.match(text, at)
        bare = _REST_OF_LINE if found[2] == ":" else _BARE
        value = quoted or bare.match(text, at)
        assert value is not None
        if value.end() > at:
            parts += [text[done:at], MASK]
            done = at = value.end()
    return "".join([*parts, text[done:]])
