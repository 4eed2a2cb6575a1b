"""GET /health: within a second, whatever is down."""

from __future__ import annotations

import socket
import time

import pytest

from app.dev.instance import free_port
from tests.api.conftest import Api


def test_ok_names_each_dependency(api: Api):
    response = api.get("/health?cache-buster=1")
    assert (response.status_code, response.json["status"]) == (200, "ok")
    for name in ("database", "redis"):
        assert response.json[name]["status"] == "ok"
        assert response.json[name]["error"] is None


def test_degraded_without_redis(test_env):
    from app import config, create_app

    api = Api(
        create_app(config.load({**test_env, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}))
    )
    response = api.get("/health")
    assert (response.status_code, response.json["status"]) == (200, "degraded")
    assert response.json["redis"] == {
        "status": "down",
        "error": "ConnectionError",
        "latencyMs": None,
    }
    assert response.json["database"]["status"] == "ok"


def test_503_without_postgresql(lost_api: Api):
    response = lost_api.get("/health")
    assert (response.status_code, response.json["status"]) == (503, "down")
    assert response.json["database"]["status"] == "down"
    assert response.json["redis"]["status"] == "down"
    assert int(response.headers["Retry-After"]) > 0


@pytest.fixture
def silence():
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_it_responds_within_a_second_while_both_hang_repeatedly(test_env, silence):
    from app import config, create_app

    env = {
        **test_env,
        "DATABASE_URL": f"postgresql://u:p@{silence}/x",
        "REDIS_URL": f"redis://{silence}/0",
    }
    api = Api(create_app(config.load(env)))
    for _ in range(3):
        started = time.monotonic()
        response = api.get("/health")
        assert time.monotonic() - started < 1
        assert response.status_code == 503
        assert response.json["database"]["error"] == "no response within 0.8 s"
