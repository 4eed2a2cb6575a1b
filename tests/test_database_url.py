"""DATABASE_URL in the forms that platforms and other libraries write."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from app import config, create_app
from app.config import ConfigError, database_url
from app.extensions import db
from tests.support.services import PrivateServices

P = "postgresql+psycopg2://"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h:5432/n", f"{P}u:p@h:5432/n"),
        ("postgresql:///n", f"{P}/n"),
        ("postgresql://u@h/n?sslmode=require", f"{P}u@h/n?sslmode=require"),
        ("postgresql://u:p%40%2F@h/n", f"{P}u:p%40%2F@h/n"),
        ("postgresql://u:p@ss@h/n", f"{P}u:p%40ss@h/n"),
        ("postgresql://u:p@[::1]:5433/n", f"{P}u:p@[::1]:5433/n"),
        ("postgresql://u:p@h/n?schema=public", f"{P}u:p@h/n"),
        ("postgresql://u:p@h/n?schema=jobs", f"{P}u:p@h/n?options=-csearch_path%3Djobs%2Cpublic"),
        ("postgresql://u:p@h/n?pgbouncer=true&connection_limit=1", f"{P}u:p@h/n"),
        ("postgresql://u:p@h/n?ssl=true", f"{P}u:p@h/n?sslmode=require"),
        ("postgresql://u:p@h/n?sslmode=no-verify", f"{P}u:p@h/n?sslmode=require"),
        (
            "postgresql://u:p@h1:5432,h2:5433,h3/n",
            f"{P}u:p@/n?host=h1:5432&host=h2:5433&host=h3:5432&target_session_attrs=read-write",
        ),
        (
            "postgresql://u:p@h1,h2/n?target_session_attrs=any",
            f"{P}u:p@/n?target_session_attrs=any&host=h1:5432&host=h2:5432",
        ),
        (
            "postgresql://u:p@/n?host=h1:1&host=h2:2",
            f"{P}u:p@/n?host=h1:1&host=h2:2&target_session_attrs=read-write",
        ),
    ],
)
def test_a_valid_database_url(url: str, expected: str) -> None:
    found = database_url.normalize(url)
    assert found == expected
    create_engine(found).dialect.create_connect_args(make_url(found))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://h/n", "starts with 'mysql'"),
        ("postgresql://", "starts with"),
        ("postgresql://u:p@h:5432", "has no database name"),
        ("postgresql://u:p@h/", "has no database name"),
        ("postgresql://u:p@h:x/n", "no usable host and port"),
        ("postgresql://u:p@h:0/n", "no usable host and port"),
        ("postgresql://u:p@h:70000/n", "no usable host and port"),
        ("postgresql://u:p@h1:5432,h2:x/n", "no usable host and port"),
        ("postgresql://u:p[x@h/n", "no usable host and port"),
        ("postgresql://u:p/w@h/n", "no usable host and port"),
        ("postgresql://u:p@h/n?sslmode", "no usable host and port"),
        ("postgresql://u:p@h/n?foo=1", "the option 'foo'"),
        ("postgresql://u:p@h/n?sslmode=on", "sslmode=on; set it to one of"),
        ("postgresql://u:p@h/n?target_session_attrs=master", "target_session_attrs=master"),
        ("postgresql://u:p@h/n?connect_timeout=abc", "connect_timeout=abc"),
        ("postgresql://u:p@h/n?schema=Jobs;drop", "has a schema with characters other than"),
    ],
)
def test_an_invalid_database_url_is_one_sentence(url: str, words: str) -> None:
    env = {"DATABASE_URL": url, "REDIS_URL": "redis://h:6379/0", "SECRET_KEY": "k" * 40}
    with pytest.raises(ConfigError) as caught:
        config.load(env)
    assert str(caught.value).startswith("DATABASE_URL ")
    assert words in str(caught.value)
    assert "p[x" not in str(caught.value)


def test_the_first_of_multiple_hosts_that_responds_is_used(private: PrivateServices) -> None:
    head, _, tail = private.database_url.rpartition("@")
    address, _, name = tail.partition("/")
    env = {**private.env(), "DATABASE_URL": f"{head}@127.0.0.1:1,{address}/{name}?schema=public"}
    app = create_app(config.load(env))
    with app.app_context():
        assert db.session.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0
    assert app.test_client().get("/health").json["status"] == "ok"


def test_a_separate_schema_does_not_touch_other_tables(
    private: PrivateServices, redis: Any
) -> None:
    import psycopg2

    from tests.support.services import migrate

    connection = psycopg2.connect(private.database_url)
    connection.autocommit = True
    connection.cursor().execute("CREATE DATABASE shared")
    connection.close()
    url = f"{private.database_url.rpartition('/')[0]}/shared"
    connection = psycopg2.connect(url)
    connection.autocommit = True
    connection.cursor().execute("CREATE TABLE jobs (title text)")
    env = {**private.env(), "DATABASE_URL": f"{url}?schema=jobqueue"}
    migrate(env)
    client = create_app(config.load(env)).test_client()
    assert client.get("/health").status_code == 200
    assert client.post("/api/jobs", json={"type": "echo"}).status_code == 201
    cursor = connection.cursor()
    cursor.execute(
        "SELECT (SELECT count(*) FROM public.jobs), (SELECT count(*) FROM jobqueue.jobs)"
    )
    assert cursor.fetchone() == (0, 1)
    connection.close()
