"""Which names are names of secrets, in any spelling."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: Only this much of the beginning of a name is checked.
NAME_CHARACTERS = 200

#: Secret anywhere in a name, which is reduced to its letters first.
_PARTS = re.compile(
    "passw|passphrase|passcode|passkey|userpass|dbpass|pwd|pswd|secret|credential|bearer|authoriz|cookie|signature|mnemonic"
    "|seedphrase|kennwort|accesstoken|refreshtoken|authtoken|apitoken|(access|auth|security|recovery|backup|verification|onetime|login)code"
    "|(api|access|private|priv|signing|signature|encryption|decryption|master|shared|service|license|ssh|gpg|pgp|aes|hmac|rsa|session|storage"
    "|account|deploy|webhook|subscription)keys?(?!board)|sess(ion)?id|connection(string|uri|url)|connstr|cardnumber|creditcard|csrf|xsrf"
    "|tokens?$"
)
#: Secret only as a separate word: inside other words they mean nothing.
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
#: With one of these at the end it is not a secret: a token count, for example.
_HARMLESS_ENDS = frozenset(
    ["count", "counts", "limit", "usage", "budget", "type", "expires", "expiry", "ttl"]
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def is_secret_name(name: str) -> bool:
    """Whether a field of this name is masked in the dashboard and in logs: password, api_key, accessToken …"""
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
