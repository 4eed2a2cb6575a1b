"""The only reader of the environment: typed, frozen, and precise about what is wrong."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from app import database_url
from app.broker import client
from app.names import NAME, NAME_RULE
from app.weak_secrets import is_common, is_short_key

T = TypeVar("T")

ENVIRONMENTS = ("development", "test", "production")
MIB = 1024 * 1024


class ConfigError(Exception):
    """A setting is missing or wrong; the message is one sentence with the variable and the fix."""


ROLES = ("viewer", "operator", "admin")
# Texts that stand in documentation and templates where a secret belongs: letters and digits of them.
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


#: Who the audit means when nobody signed in: a command line, a stranger.
RESERVED_NAMES = frozenset({"cli", "nobody", "anybody"})
_ACTOR_NAME = re.compile(r"[^\s,:\x00-\x1f\x7f](?:[^,:\x00-\x1f\x7f]{0,98}[^\s,:\x00-\x1f\x7f])?")


def check_actor_name(name: str) -> None:
    """Raises ValueError for what can't name a person or a program in the audit."""
    if not _ACTOR_NAME.fullmatch(name) or not name.isprintable():
        raise ValueError(
            "a name has 1 to 100 printable characters, without comma and colon, and no space at its ends"
        )


@dataclass(frozen=True, slots=True)
class Credential:
    """Who may come in, with what, and how far."""

    name: str
    secret: str
    role: str

    def __repr__(self) -> str:
        return f"Credential({self.name!r}, {self.role!r})"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of the system. The environment variable is the field's name in upper case."""

    app_env: str
    database_url: str  # always starts with postgresql+psycopg2://
    redis_url: str
    redis_prefix: str  # before every key; empty, or ends with a colon
    secret_key: str
    is_secret_key_given: bool
    api_tokens: tuple[Credential, ...]
    dashboard_users: tuple[Credential, ...]
    is_auth_disabled: bool
    session_hours: float
    session_idle_minutes: float  # 0: no limit
    https_only: bool
    api_rate_limit: int  # requests a minute and caller, in each web process; 0: none
    trusted_proxies: int
    host: str
    port: int
    web_threads: int  # of each web process, besides the one for expensive requests
    cors_origins: tuple[str, ...]
    max_body_bytes: int
    max_bulk_bytes: int
    lease_seconds: float
    heartbeat_seconds: float
    sweep_seconds: float
    backoff_base: float
    backoff_cap_seconds: float
    backoff_jitter: float  # share of the delay, 0…1
    max_attempts: int
    default_timeout_seconds: float | None
    stuck_seconds: float | None
    max_crashes: int
    unknown_type_hours: float  # 0: never
    drain_seconds: float | None  # None: as huey_consumer's -t says
    max_result_bytes: int
    max_log_lines: int
    job_modules: tuple[str, ...]
    job_migrations: Path | None  # versions of the tables that job_modules declare
    queues: tuple[str, ...]  # strict order; empty: all queues, round robin
    retention_days: float  # 0: keep for ever
    audit_retention_days: float  # 0: keep for ever
    smtp_url: str | None
    mail_from: str
    mail_from_allowed: tuple[str, ...]  # addresses and domains, lower case; empty: any
    mail_dir: Path | None
    http_allow_private: bool
    log_level: str
    log_format: str
    database_pool_size: int

    @property
    def is_development(self) -> bool:
        return self.app_env in ("development", "test")

    @property
    def actor_names(self) -> frozenset[str]:
        """Names of people and programs in the settings, in lower case; no stored token has one of them."""
        everyone = (*self.api_tokens, *self.dashboard_users)
        return frozenset(one.name.casefold() for one in everyone) | RESERVED_NAMES


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from ``environ`` (default: the process's own). Raises ConfigError."""
    env = os.environ if environ is None else environ
    app_env = _choice(env, "APP_ENV", ENVIRONMENTS, "production")
    is_development = app_env != "production"
    database_url = _database_url(env)
    settings = Settings(
        app_env=app_env,
        database_url=database_url,
        redis_url=_redis_url(env),
        redis_prefix=_redis_prefix(env),
        secret_key=_secret_key(env) or _derived_key(database_url),
        is_secret_key_given=_secret_key(env) is not None,
        api_tokens=_credentials(env, "API_TOKENS", 16),
        dashboard_users=_dashboard_users(env),
        is_auth_disabled=_flag(env, "AUTH_DISABLED", False),
        session_hours=_number(env, "SESSION_HOURS", float, 12.0, 0.01, 24 * 365),
        session_idle_minutes=_number(env, "SESSION_IDLE_MINUTES", float, 480.0, 0, 60 * 24 * 365),
        https_only=_flag(env, "HTTPS_ONLY", False),
        api_rate_limit=_number(env, "API_RATE_LIMIT", int, 60_000, 0, 10**9),
        trusted_proxies=_number(env, "TRUSTED_PROXIES", int, 0, 0, 10),
        host=_text(env, "HOST") or ("127.0.0.1" if is_development else "0.0.0.0"),
        port=_number(env, "PORT", int, 3000, 0, 65535),
        web_threads=_number(env, "WEB_THREADS", int, 1, 1, 64),
        cors_origins=_origins(env),
        max_body_bytes=_number(env, "MAX_BODY_BYTES", int, MIB, 1024, 1024 * MIB),
        max_bulk_bytes=_number(env, "MAX_BULK_BYTES", int, 16 * MIB, 1024, 1024 * MIB),
        lease_seconds=_number(env, "LEASE_SECONDS", float, 30.0, 1, 3600),
        heartbeat_seconds=_number(env, "HEARTBEAT_SECONDS", float, 10.0, 0.1, 1200),
        sweep_seconds=_number(env, "SWEEP_SECONDS", float, 2.0, 0.1, 60),
        backoff_base=_number(env, "BACKOFF_BASE", float, 2.0, 0.01, 100),
        backoff_cap_seconds=_number(env, "BACKOFF_CAP_SECONDS", float, 3600.0, 0, 31 * 86400),
        backoff_jitter=_number(env, "BACKOFF_JITTER", float, 0.0, 0, 1),
        max_attempts=_number(env, "MAX_ATTEMPTS", int, 5, 1, 100),
        default_timeout_seconds=_number(env, "DEFAULT_TIMEOUT_SECONDS", float, 0.0, 0, 7 * 86400)
        or None,
        stuck_seconds=_number(env, "STUCK_SECONDS", float, 60.0, 0, 86400) or None,
        max_crashes=_number(env, "MAX_CRASHES", int, 3, 0, 100),
        unknown_type_hours=_number(env, "UNKNOWN_TYPE_HOURS", float, 24.0, 0, 24 * 365),
        drain_seconds=_number(env, "DRAIN_SECONDS", float, 25.0, 0, 3600)
        if _text(env, "DRAIN_SECONDS")
        else None,
        max_result_bytes=_number(env, "MAX_RESULT_BYTES", int, MIB, 64, 64 * MIB),
        max_log_lines=_number(env, "MAX_LOG_LINES", int, 1000, 0, 100_000),
        job_modules=_names(env, "JOB_MODULES"),
        job_migrations=Path(text) if (text := _text(env, "JOB_MIGRATIONS")) else None,
        queues=_queues(env),
        retention_days=_number(env, "RETENTION_DAYS", float, 7.0, 0, 36500),
        audit_retention_days=_retention(env),
        smtp_url=_smtp_url(env),
        mail_from=_mail_from(env),
        mail_from_allowed=tuple(name.lower() for name in _names(env, "MAIL_FROM_ALLOWED")),
        mail_dir=_mail_dir(env, is_development),
        http_allow_private=_flag(env, "HTTP_ALLOW_PRIVATE", is_development),
        log_level=_choice(env, "LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
        log_format=_choice(
            env, "LOG_FORMAT", ("text", "json"), "text" if is_development else "json"
        ),
        database_pool_size=_number(env, "DATABASE_POOL_SIZE", int, 7, 1, 1000),
    )
    _check_names(settings)
    if settings.heartbeat_seconds * 2 > settings.lease_seconds:
        raise ConfigError(
            f"HEARTBEAT_SECONDS ({settings.heartbeat_seconds:g}) must be at most half of "
            f"LEASE_SECONDS ({settings.lease_seconds:g}), or healthy workers lose their jobs."
        )
    return settings


#: What lets people and programs in: of no use to a worker, and so of none to its handlers.
WEB_SECRETS = ("SECRET_KEY", "API_TOKENS", "DASHBOARD_PASSWORD", "DASHBOARD_USERS")


def load_for_worker() -> Settings:
    """Settings without WEB_SECRETS, which leave this process's environment as well. Raises ConfigError."""
    load()  # what is wrong with them is said here as everywhere
    for name in WEB_SECRETS:
        os.environ.pop(name, None)
    return load()


def check_door(settings: Settings) -> None:
    """Before anything is served: raises ConfigError where strangers could come in."""
    if settings.is_development:
        if settings.host not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigError(
                f"HOST is {settings.host!r} and APP_ENV is {settings.app_env!r}, where nobody is asked who they"
                " are; set HOST=127.0.0.1, or APP_ENV=production with credentials."
            )
        return
    if not settings.is_secret_key_given:
        raise ConfigError(
            "SECRET_KEY is not set; set it to 32 or more random characters, the same for all processes "
            "(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')."
        )
    if is_short_key(settings.secret_key):
        raise ConfigError(
            "SECRET_KEY is too short or repeats itself, so sessions could be forged; set it to 32 or more random "
            "characters (python3 -c 'import secrets; print(secrets.token_urlsafe(32))')."
        )
    for user in settings.dashboard_users:
        if is_common(user.secret, user.name):
            raise ConfigError(
                f"The password of {user.name!r} (DASHBOARD_PASSWORD or DASHBOARD_USERS) is one of those that "
                "attackers try first; choose another one."
            )
    if not (settings.api_tokens or settings.dashboard_users or settings.is_auth_disabled):
        raise ConfigError(
            "Nobody could sign in: set DASHBOARD_PASSWORD, and API_TOKENS=name:token:role for programs. "
            "AUTH_DISABLED=1 lets everybody in who reaches this address."
        )


def _text(env: Mapping[str, str], name: str) -> str | None:
    return env.get(name, "").strip() or None


def _names(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in env.get(name, "").split(",") if part.strip())


def _queues(env: Mapping[str, str]) -> tuple[str, ...]:
    queues = _names(env, "QUEUES")
    if not queues and (text := _text(env, "QUEUES")):
        raise ConfigError(
            f"QUEUES is {text!r} and names no queue; leave it empty to serve all queues, "
            "or set it to names, comma separated."
        )
    for queue in queues:
        if not NAME.fullmatch(queue):
            raise ConfigError(
                f"QUEUES names {queue!r}; a queue's name {NAME_RULE.rstrip('.')}, "
                "and names are separated by commas."
            )
    return queues


def _choice(env: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = _text(env, name) or default
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; set it to one of {', '.join(allowed)}.")
    return value


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    value = (_text(env, name) or "").lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("0", "false", "no", "off"):
        return False
    if value:
        raise ConfigError(f"{name} is {value!r}; set it to 1 or 0.")
    return default


def _number(
    env: Mapping[str, str],
    name: str,
    kind: Callable[[str], T],
    default: T,
    low: float,
    high: float,
) -> T:
    text = _text(env, name)
    if text is None:
        return default
    try:
        value = kind(text)
        if not low <= value <= high:  # type: ignore[operator]
            raise ValueError
    except ValueError:
        whole = "a whole number" if kind is int else "a number"
        raise ConfigError(
            f"{name} is {text!r}; set it to {whole} from {low:g} to {high:g}."
        ) from None
    return value


def _database_url(env: Mapping[str, str]) -> str:
    url = _text(env, "DATABASE_URL")
    if url is None:
        raise ConfigError(
            "DATABASE_URL is not set; set it to postgresql://user:password@host:5432/name "
            "(or use `make run`, which brings its own PostgreSQL and Redis)."
        )
    try:
        return database_url.normalize(url)
    except ValueError as error:
        raise ConfigError(f"DATABASE_URL {error}") from None


def _redis_url(env: Mapping[str, str]) -> str:
    url = _text(env, "REDIS_URL")
    if url is None and _text(env, "REDIS_HOST"):
        url = f"redis://{_text(env, 'REDIS_HOST')}:{_number(env, 'REDIS_PORT', int, 6379, 1, 65535)}/0"
    if url is None:
        raise ConfigError(
            "REDIS_URL is not set; set it to redis://host:6379/0 (or rediss:// for TLS), "
            "or set REDIS_HOST and REDIS_PORT."
        )
    try:
        client.check_url(url)
    except ValueError as error:
        raise ConfigError(f"REDIS_URL {error}") from None
    return url


def _redis_prefix(env: Mapping[str, str]) -> str:
    prefix = (_text(env, "REDIS_PREFIX") or "").rstrip(":")
    if not re.fullmatch(r"[A-Za-z0-9._:-]{0,100}", prefix):
        raise ConfigError(
            "REDIS_PREFIX must be up to 100 letters, digits, '.', '_', ':' or '-'; set it to a name"
            " such as shop-staging."
        )
    return f"{prefix}:" if prefix else ""


def _check_address(name: str, url: str, example: str) -> None:
    # The value is not repeated: it may hold a password.
    try:
        is_port_good = urlsplit(url).port != 0
    except ValueError:
        is_port_good = False
    if not is_port_good:
        raise ConfigError(f"{name} has no usable host and port; set it to {example}.")


def _check_secret(name: str, secret: str, of: str = "") -> None:
    # The documentation and its templates are public, and so is the text of a command that no shell ran.
    letters = "".join(letter for letter in secret.casefold() if letter.isalnum())
    is_token = name == "API_TOKENS"
    if letters in _PLACEHOLDERS or _UNEXPANDED.search(secret):
        problem = "is a placeholder or the text of a command, which anybody can guess"
    elif is_token and _NEVER_IN_A_TOKEN.search(secret):
        problem = "holds spaces, quotes or angle brackets, which no token has"
    else:
        return
    whose = f": the secret of {of!r}" if of else ""
    raise ConfigError(
        f"{name}{whose} {problem}; set it to the output of "
        "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'."
    )


def _secret_key(env: Mapping[str, str]) -> str | None:
    key = _text(env, "SECRET_KEY")
    if key:
        _check_secret("SECRET_KEY", key)
    return key


def _credentials(env: Mapping[str, str], name: str, shortest: int) -> tuple[Credential, ...]:
    # No message repeats what was given: it holds secrets.
    found = []
    for number, entry in enumerate(_names(env, name), 1):
        who, _, rest = entry.partition(":")
        secret, _, role = rest.rpartition(":")
        role = _SCOPES.get(role, role)
        if not who or not secret or role not in ROLES:
            raise ConfigError(
                f"{name}: entry {number} is not name:secret:role; the roles are {', '.join(ROLES)}."
            )
        if len(secret) < shortest:
            raise ConfigError(
                f"{name}: the secret of {who!r} is too short; it needs {shortest} characters or more."
            )
        _check_secret(name, secret, who)
        found.append(Credential(who, secret, role))
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise ConfigError(f"{name}: a name is used twice; names must be unique.")
    return tuple(found)


def _check_names(settings: Settings) -> None:
    # By its name somebody is known in the audit, the rate limits and Idempotency-Key.
    seen = set(RESERVED_NAMES)
    for one in (*settings.api_tokens, *settings.dashboard_users):
        try:
            check_actor_name(one.name)
        except ValueError as error:
            raise ConfigError(
                f"API_TOKENS or DASHBOARD_USERS names {one.name!r}: {error}."
            ) from None
        if one.name.casefold() in seen:
            raise ConfigError(
                f"API_TOKENS and DASHBOARD_USERS: the name {one.name!r} is reserved or used more than once; "
                "names must be unique over both."
            )
        seen.add(one.name.casefold())


def _retention(env: Mapping[str, str]) -> float:
    days = _number(env, "AUDIT_RETENTION_DAYS", float, 365.0, 0, 36500)
    if 0 < days < 1:
        raise ConfigError(
            f"AUDIT_RETENTION_DAYS is {days:g}; set it to at least 1, or 0 to keep everything."
        )
    return days


def _dashboard_users(env: Mapping[str, str]) -> tuple[Credential, ...]:
    users = _credentials(env, "DASHBOARD_USERS", 8)
    password = env.get("DASHBOARD_PASSWORD", "")
    if not password:
        return users
    if len(password) < 8:
        raise ConfigError("DASHBOARD_PASSWORD is too short; it needs 8 characters or more.")
    _check_secret("DASHBOARD_PASSWORD", password)
    if any(one.name == "admin" for one in users):
        raise ConfigError(
            "DASHBOARD_USERS names admin, which DASHBOARD_PASSWORD does, too; set one of them."
        )
    return (Credential("admin", password, "admin"), *users)


def _smtp_url(env: Mapping[str, str]) -> str | None:
    url = _text(env, "SMTP_URL")
    if url is None:
        return None
    example = "smtp://user:password@mail.example.com:587?starttls"
    _check_address("SMTP_URL", url, example)
    if urlsplit(url).scheme not in ("smtp", "smtps") or not urlsplit(url).hostname:
        raise ConfigError(f"SMTP_URL must be smtp:// or smtps:// with a host; set it to {example}.")
    return url


def _mail_from(env: Mapping[str, str]) -> str:
    address = _text(env, "MAIL_FROM") or "jobs@localhost"
    if "@" not in address:
        raise ConfigError(
            f"MAIL_FROM is {address!r}; set it to an address such as Jobs <jobs@example.com>."
        )
    return address


def _origins(env: Mapping[str, str]) -> tuple[str, ...]:
    origins = _names(env, "CORS_ORIGIN") or ("http://localhost:5173",)
    for origin in origins:
        if origin != "*" and not origin.startswith(("http://", "https://")):
            raise ConfigError(
                f"CORS_ORIGIN holds {origin!r}; set it to origins such as "
                "https://example.com, comma separated."
            )
    return tuple(origin.rstrip("/") for origin in origins)


def _mail_dir(env: Mapping[str, str], is_development: bool) -> Path | None:
    folder = _text(env, "MAIL_DIR")
    if folder:
        return Path(folder)
    return Path("var/mail") if is_development else None


def _derived_key(database_url: str) -> str:
    # Every process must sign forms with the same key, and the database URL is the one secret
    # they all share; SECRET_KEY overrides it.
    return hashlib.sha256(b"jobqueue session key\0" + database_url.encode()).hexdigest()
