"""Settings from the environment: defaults, forms of URLs, and one sentence for whatever is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from app import config
from app.config import ConfigError

ROOT = Path(__file__).parent.parent
URLS = {"DATABASE_URL": "postgresql://u:p@h:5432/n", "REDIS_URL": "redis://h:6379/0"}


def load(**env: str) -> Any:
    return config.load({**URLS, **env})


def test_two_urls_are_all_that_is_needed() -> None:
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
def test_a_database_url_in_any_spelling(scheme: str) -> None:
    settings = load(DATABASE_URL=f"{scheme}://u:p@h/n?sslmode=require")
    assert settings.database_url == "postgresql+psycopg2://u:p@h/n?sslmode=require"


@pytest.mark.parametrize("url", ["redis://h", "rediss://:pw@h:6380/1", "unix:///run/redis.sock"])
def test_a_redis_url_in_any_spelling(url: str) -> None:
    assert load(REDIS_URL=url).redis_url == url


def test_redis_host_and_port_serve_where_the_url_is_absent() -> None:
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
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'loud'; set it to one of DEBUG"),
        ({"SMTP_URL": "mail.example.com"}, "SMTP_URL must be smtp:// or smtps://"),
        ({"SMTP_URL": "smtp://"}, "SMTP_URL must be smtp:// or smtps://"),
        ({"SMTP_URL": "smtp://u:s3cret@h:port"}, "SMTP_URL has no usable host"),
        ({"MAIL_FROM": "nobody"}, "MAIL_FROM is 'nobody'; set it to an address"),
        ({"CORS_ORIGIN": "example.com"}, "CORS_ORIGIN holds 'example.com'; set it to origins"),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(env: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**env)
    message = str(caught.value)
    assert message.startswith(sentence)
    assert "\n" not in message
    assert "s3cret" not in message


def documented(readme: str) -> set[str]:
    section = readme.partition("\n## Settings\n")[2].partition("\n## ")[0]
    first_column = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", " ".join(first_column))) | {
        name for name in ("REDIS_HOST", "REDIS_PORT") if f"`{name}`" in section
    }


def test_the_readme_lists_every_setting_and_no_other() -> None:
    fields = {name.upper() for name in config.Settings.__dataclass_fields__}
    fields -= {"CORS_ORIGINS", "IS_SECRET_KEY_GIVEN", "IS_AUTH_DISABLED"}
    fields |= {"CORS_ORIGIN", "REDIS_HOST", "REDIS_PORT", "WEB_CONCURRENCY"}
    fields |= {"AUTH_DISABLED", "DASHBOARD_PASSWORD"}
    assert documented((ROOT / "README.md").read_text()) == fields


def test_the_example_file_knows_only_real_settings() -> None:
    names = re.findall(r"^#? ?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    fields = {name.upper() for name in config.Settings.__dataclass_fields__}
    known = fields | {"CORS_ORIGIN", "REDIS_HOST", "REDIS_PORT", "WEB_CONCURRENCY"}
    known |= {"AUTH_DISABLED", "DASHBOARD_PASSWORD"}
    assert names
    assert set(names) <= known
