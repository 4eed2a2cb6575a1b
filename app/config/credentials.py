"""The credentials in the settings: the names, secrets and roles of people and programs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.config.readers import ConfigError, Environment, names, text

ROLES = ("viewer", "operator", "admin")
#: Actors in the audit log that are neither people nor programs: the command line, callers without credentials.
RESERVED_NAMES = frozenset({"cli", "nobody", "anybody"})
MIN_TOKEN = 16
MIN_PASSWORD = 8

# Placeholders for a secret in documentation and templates, as lower-case letters and digits only.
_PLACEHOLDERS = frozenset(
    (
        "32ormorerandomcharactersthesameforallprocesses",
        "signsformsandsessionslongandrandom",
        "signsinadmin",
        *(
            "password",
            "secret",
            "token",
            "key",
            "apitoken",
            "secretkey",
            "yoursecretkey",
            "mysecretkey",
        ),
        *("yourpassword", "mypassword", "yoursecret", "mysecret", "yourtoken", "mytoken"),
        *("changeme", "changethis", "replaceme", "replacethis", "longandrandom"),
    )
)
_UNEXPANDED = re.compile(r"\$[({]|`")
_NEVER_IN_A_TOKEN = re.compile(r"""[\s'"<>]""")
_SCOPES = {"read": "viewer", "write": "operator"}
_ACTOR_NAME = re.compile(r"[^\s,:\x00-\x1f\x7f](?:[^,:\x00-\x1f\x7f]{0,98}[^\s,:\x00-\x1f\x7f])?")


@dataclass(frozen=True, slots=True)
class Credential:
    """A person or a program: its name, its password or token, and its role."""

    name: str
    secret: str
    role: str

    def __repr__(self) -> str:
        return f"Credential({self.name!r}, {self.role!r})"


def check_actor_name(name: str) -> None:
    """Raises ValueError if ``name`` can't be the name of a person or a program in the audit log."""
    if not _ACTOR_NAME.fullmatch(name) or not name.isprintable():
        raise ValueError(
            "a name has 1 to 100 printable characters, no comma or colon, and no space at the beginning or end"
        )


def check_names(credentials: tuple[Credential, ...]) -> None:
    """Raises ConfigError unless all names are valid and unique.

    The audit log, the rate limits and Idempotency-Key identify people and programs by name.
    """
    taken = set(RESERVED_NAMES)
    for credential in credentials:
        try:
            check_actor_name(credential.name)
        except ValueError as error:
            raise ConfigError(
                f"API_TOKENS or DASHBOARD_USERS names {credential.name!r}: {error}."
            ) from None
        if credential.name.casefold() in taken:
            raise ConfigError(
                f"API_TOKENS and DASHBOARD_USERS: the name {credential.name!r} is reserved or used "
                "more than once; names must be unique across both."
            )
        taken.add(credential.name.casefold())


def secret_key(env: Environment, name: str) -> str | None:
    """SECRET_KEY; None if it is not set."""
    key = text(env, name)
    if key:
        _check_secret(name, key)
    return key


def is_given(env: Environment, name: str) -> bool:
    """Whether a variable is set."""
    return text(env, name) is not None


def api_tokens(env: Environment, name: str) -> tuple[Credential, ...]:
    """``name:token:role,…``"""
    return _credentials(env, name, MIN_TOKEN)


def dashboard_users(env: Environment, name: str) -> tuple[Credential, ...]:
    """``name:password:role,…``, and the user admin if DASHBOARD_PASSWORD is set."""
    users = _credentials(env, name, MIN_PASSWORD)
    password = env.get("DASHBOARD_PASSWORD", "")
    if not password:
        return users
    if len(password) < MIN_PASSWORD:
        raise ConfigError(
            f"DASHBOARD_PASSWORD is too short; it needs {MIN_PASSWORD} characters or more."
        )
    _check_secret("DASHBOARD_PASSWORD", password)
    if any(user.name == "admin" for user in users):
        raise ConfigError(
            f"{name} contains admin, but DASHBOARD_PASSWORD is admin's password; set only one of them."
        )
    return (Credential("admin", password, "admin"), *users)


def _credentials(env: Environment, name: str, min_length: int) -> tuple[Credential, ...]:
    # No message repeats the value, because it contains secrets.
    credentials = []
    for number, entry in enumerate(names(env, name), 1):
        owner, _, rest = entry.partition(":")
        secret, _, role = rest.rpartition(":")
        role = _SCOPES.get(role, role)
        if not owner or not secret or role not in ROLES:
            raise ConfigError(
                f"{name}: entry {number} is not name:secret:role; the roles are {', '.join(ROLES)}."
            )
        if len(secret) < min_length:
            raise ConfigError(
                f"{name}: the secret of {owner!r} is too short; it needs {min_length} characters or more."
            )
        _check_secret(name, secret, owner)
        credentials.append(Credential(owner, secret, role))
    if len({credential.name for credential in credentials}) < len(credentials):
        raise ConfigError(f"{name}: a name is used twice; names must be unique.")
    return tuple(credentials)


def _check_secret(name: str, secret: str, owner: str = "") -> None:
    # The documentation and its templates are public, and so is a command that was copied without being run.
    letters = "".join(character for character in secret.casefold() if character.isalnum())
    is_token = name == "API_TOKENS"
    if letters in _PLACEHOLDERS or _UNEXPANDED.search(secret):
        problem = "is a placeholder or the text of a command, which anyone can guess"
    elif is_token and _NEVER_IN_A_TOKEN.search(secret):
        problem = "contains spaces, quotes or angle brackets, which no token has"
    else:
        return
    whose = f": the secret of {owner!r}" if owner else ""
    raise ConfigError(
        f"{name}{whose} {problem}; set it to the output of "
        "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'."
    )
