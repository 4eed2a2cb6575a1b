"""Settings from the environment: defaults, forms of URLs, and one sentence for each error."""

from __future__ import annotations

import dataclasses
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from app import config
from app.config import ConfigError
from app.worker.kernel import CONNECTIONS

ROOT = Path(__file__).parent.parent
URLS = {"DATABASE_URL": "postgresql://u:p@h:5432/n", "REDIS_URL": "redis://h:6379/0"}


def load(**env: str) -> Any:
    return config.load({**URLS, **env})


def test_only_two_urls_are_required() -> None:
    settings = load()
    assert settings.app_env == "production"
    assert (settings.host, settings.port) == ("0.0.0.0", 3000)
    assert (settings.max_attempts, settings.backoff_base, settings.backoff_jitter) == (5, 2, 0)
    assert settings.http_allow_private is False
    assert settings.mail_dir is None
    assert settings.cors_origins == ("http://localhost:5173",)


def test_development_is_private_and_writes_mail_to_files() -> None:
    settings = load(APP_ENV="development")
    assert settings.host == "127.0.0.1"
    assert settings.http_allow_private is True
    assert settings.mail_dir == Path("var/mail")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_database_url_is_normalized(scheme: str) -> None:
    settings = load(DATABASE_URL=f"{scheme}://u:p@h/n?sslmode=require")
    assert settings.database_url == "postgresql+psycopg2://u:p@h/n?sslmode=require"


@pytest.mark.parametrize("url", ["redis://h", "rediss://:pw@h:6380/1", "unix:///run/redis.sock"])
def test_redis_url_is_accepted(url: str) -> None:
    assert load(REDIS_URL=url).redis_url == url


def test_redis_host_and_port_replace_a_missing_url() -> None:
    env = {"DATABASE_URL": URLS["DATABASE_URL"], "REDIS_HOST": "cache"}
    assert config.load(env).redis_url == "redis://cache:6379/0"
    assert config.load({**env, "REDIS_PORT": "7000"}).redis_url == "redis://cache:7000/0"


def test_lists_are_comma_separated_and_spaces_do_not_matter() -> None:
    settings = load(QUEUES=" critical, default ,", JOB_MODULES="a.b", CORS_ORIGIN="https://x.test/")
    assert settings.queues == ("critical", "default")
    assert settings.job_modules == ("a.b",)
    assert settings.cors_origins == ("https://x.test",)


def test_the_key_is_the_same_in_every_process_and_differs_between_databases() -> None:
    one, two = load().secret_key, load(DATABASE_URL="postgresql://u:q@h/n").secret_key
    assert load().secret_key == one != two
    assert "u:p" not in one
    assert load(SECRET_KEY="mine").secret_key == "mine"


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set; set it to postgresql://"),
        ({"DATABASE_URL": "mysql://h/n"}, "DATABASE_URL starts with 'mysql'"),
        ({"DATABASE_URL": "postgresql://"}, "DATABASE_URL starts with"),
        ({"DATABASE_URL": "postgresql://u:s3cret@h:x/n"}, "DATABASE_URL has no usable host"),
        ({"REDIS_URL": ""}, "REDIS_URL is not set; set it to redis://"),
        ({"REDIS_URL": "http://h"}, "REDIS_URL starts with 'http'"),
        ({"REDIS_URL": "redis://:s3cret@h:99999/0"}, "REDIS_URL has no usable host"),
        ({"APP_ENV": "staging"}, "APP_ENV is 'staging'; set it to one of development, test"),
        ({"PORT": "http"}, "PORT is 'http'; set it to a whole number from 0 to 65535"),
        ({"PORT": "70000"}, "PORT is '70000'"),
        ({"MAX_ATTEMPTS": "0"}, "MAX_ATTEMPTS is '0'; set it to a whole number from 1 to 100"),
        ({"MAX_ATTEMPTS": "2.5"}, "MAX_ATTEMPTS is '2.5'"),
        ({"BACKOFF_JITTER": "nan"}, "BACKOFF_JITTER is 'nan'; set it to a number from 0 to 1"),
        ({"LEASE_SECONDS": "inf"}, "LEASE_SECONDS is 'inf'"),
        ({"HEARTBEAT_SECONDS": "20"}, "HEARTBEAT_SECONDS (20) must be at most half of LEASE"),
        ({"HTTP_ALLOW_PRIVATE": "maybe"}, "HTTP_ALLOW_PRIVATE is 'maybe'; set it to 1 or 0"),
        ({"SQL_ECHO": "1"}, "SQL_ECHO works only in development; unset it, or set APP_ENV="),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'loud'; set it to one of DEBUG"),
        ({"SMTP_URL": "mail.example.com"}, "SMTP_URL must be smtp:// or smtps://"),
        ({"SMTP_URL": "smtp://"}, "SMTP_URL must be smtp:// or smtps://"),
        ({"SMTP_URL": "smtp://u:s3cret@h:port"}, "SMTP_URL has no usable host"),
        ({"MAIL_FROM": "nobody"}, "MAIL_FROM is 'nobody'; set it to an address"),
        ({"QUEUES": "mail slow"}, "QUEUES contains 'mail slow'; a queue's name must be 1 to 100"),
        ({"QUEUES": "mail,-x"}, "QUEUES contains '-x'"),
        ({"QUEUES": ","}, "QUEUES is ',', which contains no queue; leave it empty to serve all"),
        ({"CORS_ORIGIN": "example.com"}, "CORS_ORIGIN contains 'example.com'; set it to origins"),
    ],
)
def test_an_invalid_setting_is_described_in_one_sentence(
    env: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**env)
    message = str(caught.value)
    assert message.startswith(sentence)
    assert "\n" not in message
    assert "s3cret" not in message


#: Variables that are part of another setting, or that only the Procfile reads.
PARTS = {"REDIS_HOST", "REDIS_PORT", "DASHBOARD_PASSWORD", "WEB_CONCURRENCY"}


CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


def documented() -> set[str]:
    first_column = re.findall(r"^\| (`.*?) \|", CONFIGURATION, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", " ".join(first_column))) | {
        name for name in ("REDIS_HOST", "REDIS_PORT") if f"`{name}`" in CONFIGURATION
    }


def test_the_configuration_guide_lists_every_setting_and_no_other() -> None:
    assert documented() == {*variables().values(), *PARTS}


def test_the_example_file_knows_only_real_settings() -> None:
    names = re.findall(r"^#? ?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert names
    assert set(names) <= {*variables().values(), *PARTS}


EXAMPLE = (ROOT / ".env.example").read_text()
EXAMPLE_LINES = re.findall(r"^# ([A-Z][A-Z_]+=.*)$", EXAMPLE, re.MULTILINE)


@pytest.mark.parametrize("line", EXAMPLE_LINES, ids=lambda line: line.partition("=")[0])
def test_every_line_of_the_example_can_be_uncommented(line: str) -> None:
    name, _, value = line.partition("=")
    assert dotenv_values(stream=StringIO(line)) == {name: value}
    load(**{name: value})


def variables() -> dict[str, str]:
    """Field of Settings → its environment variable."""
    fields = dataclasses.fields(config.Settings)
    return {field.name: field.metadata["variable"] or field.name.upper() for field in fields}


#: Not the default: the example says so, or shows what an unset variable does.
EXAMPLES_ONLY = {"DATABASE_URL", "REDIS_URL", "REDIS_PREFIX", "SMTP_URL"}


def test_the_example_shows_the_defaults() -> None:
    defaults = load(APP_ENV="development")
    shown = {}
    for line in EXAMPLE_LINES:
        name, _, value = line.partition("=")
        if name not in EXAMPLES_ONLY and load(APP_ENV="development", **{name: value}) != defaults:
            shown[name] = value
    # The default of the first depends on APP_ENV, and that of the second is what -t says.
    assert shown == {"HTTP_ALLOW_PRIVATE": "0", "DRAIN_SECONDS": "25"}


def test_the_configuration_guide_shows_the_defaults() -> None:
    defaults = load()
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| (`[^|]+) \|", CONFIGURATION, re.MULTILINE)
    checked = set()
    for names, values in rows:
        pairs = zip(re.findall(r"`(\w+)`", names), re.findall(r"`([^`]+)`", values), strict=False)
        for name, value in pairs:
            if name in variables().values() and name not in EXAMPLES_ONLY:
                assert load(**{name: value}) == defaults, (
                    f"configuration.md: {name} is not {value} by default"
                )
                checked.add(name)
    assert len(checked) > 25


def test_the_guides_know_how_many_connections_a_worker_has_of_its_own() -> None:
    deployment = (ROOT / "docs" / "deployment.md").read_text()

    assert f"its own {CONNECTIONS} come on top" in CONFIGURATION
    assert re.search(rf"per worker {CONNECTIONS} of its\s+own", deployment)


def test_uncommenting_the_whole_example_sets_no_secret() -> None:
    lines = dotenv_values(stream=StringIO("\n".join(EXAMPLE_LINES)))

    settings = load(**{name: value or "" for name, value in lines.items()})

    assert len(lines) == len(EXAMPLE_LINES) > 40
    assert not settings.is_secret_key_given
    assert (settings.api_tokens, settings.dashboard_users) == ((), ())


PUBLIC_SECRETS = [
    {"SECRET_KEY": "32 or more random characters, the same for all processes"},
    {"SECRET_KEY": "32ormorerandomcharacters,thesameforallprocesses"},  # as honcho reads it
    {"SECRET_KEY": "signs forms and sessions; long and random"},
    {"SECRET_KEY": "$(openssl rand -hex 32)"},
    {"SECRET_KEY": "`openssl rand -hex 32`"},
    {"SECRET_KEY": "${SECRET_KEY}"},
    {"SECRET_KEY": "change-me"},
    {"DASHBOARD_PASSWORD": "signs in admin"},
    {"DASHBOARD_PASSWORD": "signsinadmin"},
    {"DASHBOARD_PASSWORD": "password"},
    {"DASHBOARD_PASSWORD": "Change Me!"},
    {"DASHBOARD_USERS": "ada:password:operator,eve:password:viewer"},
    {"DASHBOARD_USERS": "ada:$(openssl rand -hex 24):operator"},
    {"API_TOKENS": "shop:$(openssl rand -hex 24):operator"},
    {"API_TOKENS": "ci:0123456789 abcdef:operator"},
    {"API_TOKENS": "ci:'0123456789abcdef':operator"},
    {"API_TOKENS": "ci:<your token goes here>:operator"},
    {"API_TOKENS": 'ci:"0123456789abcdef":operator'},
]


@pytest.mark.parametrize("env", PUBLIC_SECRETS, ids=lambda env: "".join(env.values()))
def test_a_secret_from_the_documentation_is_refused(env: dict[str, str]) -> None:
    [(name, value)] = env.items()

    with pytest.raises(ConfigError) as caught:
        load(**env)

    assert str(caught.value).startswith(name)
    assert "secrets.token_urlsafe(32)" in str(caught.value)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    "env",
    [
        {"SECRET_KEY": "tests"},
        {"SECRET_KEY": "a key of thirty-two characters or more"},
        {"DASHBOARD_PASSWORD": "correct horse battery staple"},
        {"DASHBOARD_PASSWORD": "pass'word\"of mine$"},
        {"DASHBOARD_USERS": "ada:another password:admin"},
        {"API_TOKENS": "ci:0123456789abcdef-_.~+/=:operator"},
    ],
    ids=lambda env: "".join(env.values()),
)
def test_a_new_secret_is_accepted(env: dict[str, str]) -> None:
    load(**env)


DOCUMENTS = [ROOT / "README.md", ROOT / ".env.example", *sorted((ROOT / "docs").glob("*.md"))]
SECRETS = (
    r"\b((?:SECRET_KEY|API_TOKENS|DASHBOARD_PASSWORD|DASHBOARD_USERS)=)([^\s|`]\S.*?)?(?:\s+#.*)?$"
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_documentation_set_no_public_secret(document: Path) -> None:
    for name, value in re.findall(SECRETS, document.read_text(), re.MULTILINE):
        if not value:
            continue
        assert not value.startswith("'"), f"a shell expands nothing in single quotes: {name}{value}"
        with pytest.raises(ConfigError):  # as a file of variables takes it, without a shell
            load(**{name.rstrip("="): value.strip('"')})
