"""Converts DATABASE_URL from the forms of platforms and other tools to the form that SQLAlchemy accepts."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import psycopg2
from psycopg2.extensions import parse_dsn

EXAMPLE = "postgresql://user:password@host:5432/name"
DRIVER = "postgresql+psycopg2"
#: Some platforms provide postgres://, which SQLAlchemy does not accept.
SCHEMES = ("postgres", "postgresql", DRIVER)
#: Options of other libraries (Prisma, node-postgres, asyncpg, JDBC) that have no effect here.
IGNORED_OPTIONS = frozenset(
    {
        "pgbouncer", "connection_limit", "pool_timeout", "statement_cache_size", "prepared_statements",
        "preparethreshold", "prepared_statement_cache_size", "uselibpqcompat", "socket_timeout",
    }
)  # fmt: skip
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": (
        "any", "read-write", "read-only", "primary", "standby", "prefer-standby",
    ),
}  # fmt: skip


def normalize(url: str) -> str:
    """``url`` with the driver's scheme, multiple hosts as options, and foreign options translated.

    Raises ValueError; its message continues a sentence that starts with the variable's name, and never contains the
    URL, which may contain a password.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest:
        raise ValueError(
            f"starts with {scheme!r}; only PostgreSQL is supported, set it to {EXAMPLE}."
        )
    try:
        parts = urlsplit(f"postgresql://{rest}")
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(_ADDRESS) from None
    user, _, netloc = parts.netloc.rpartition("@")
    addresses = [_address(address) for address in netloc.split(",")] if netloc else []
    options = _translated(options)
    names = {name for name, _ in options}
    if not parts.path.strip("/") and not names & {"dbname", "service"}:
        raise ValueError(f"has no database name; set it to {EXAMPLE}.")
    _check(options)
    if len(addresses) == 1:
        [(host, port)] = addresses
        netloc = f"{host}:{port}" if port else host
    else:
        options += [("host", f"{host}:{port or 5432}") for host, port in addresses]
        netloc = ""
    if (
        len([name for name, _ in options if name == "host"]) > 1
        and "target_session_attrs" not in names
    ):
        # Only the primary accepts writes.
        options.append(("target_session_attrs", "read-write"))
    authority = f"{_requoted(user)}@{netloc}" if user else netloc
    query = f"?{urlencode(options, quote_via=quote, safe='/:')}" if options else ""
    return f"{DRIVER}://{authority}{parts.path}{query}"


_ADDRESS = (
    f"has no usable host and port; set it to {EXAMPLE}, with special characters in the password"
    " percent-encoded (%40 for @, %2F for /)."
)


def _address(text: str) -> tuple[str, str]:
    """Host and port; an IPv6 address keeps its brackets."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:@\[\]/]*)(?::(\d{1,5})?)?", text)
    if not match or (match[2] is not None and not 0 < int(match[2]) < 65536):
        raise ValueError(_ADDRESS)
    return match[1], match[2] or ""


def _requoted(user: str) -> str:
    # Encoded, a password with @ is unambiguous.
    name, colon, password = user.partition(":")
    return colon.join(
        quote(unquote(part), safe="") for part in ((name, password) if colon else (name,))
    )


def _translated(options: list[tuple[str, str]]) -> list[tuple[str, str]]:
    kept = []
    for name, value in options:
        if name.lower() in IGNORED_OPTIONS:
            continue
        if name == "schema":
            kept += _search_path(value)
        elif name == "ssl":
            is_on = value.lower() in ("true", "1", "require")
            kept.append(("sslmode", "require" if is_on else "prefer"))
        elif (name, value) == ("sslmode", "no-verify"):
            kept.append(("sslmode", "require"))  # libpq: encrypted, but not verified
        else:
            kept.append((name, value))
    return kept


def _search_path(schema: str) -> list[tuple[str, str]]:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
        raise ValueError(
            "has a schema with characters other than lower-case letters, digits and '_'; set it to ?schema=jobqueue."
        )
    # public is PostgreSQL's default, and a pooler may refuse the option.
    return [] if schema == "public" else [("options", f"-csearch_path={schema},public")]


def _check(options: list[tuple[str, str]]) -> None:
    for name, value in options:
        try:
            parse_dsn(f"{name}=x")
        except psycopg2.Error:
            raise ValueError(
                f"has the option {name!r}, which the PostgreSQL client does not support; remove it."
            ) from None
        allowed = CHOICES.get(name)
        if allowed and value not in allowed:
            raise ValueError(f"has {name}={value}; set it to one of {', '.join(allowed)}.")
        if name in ("connect_timeout", "port") and not re.fullmatch(r"\d+(,\d+)*", value):
            raise ValueError(f"has {name}={value}; set it to a whole number.")
