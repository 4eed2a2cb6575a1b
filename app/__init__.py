"""A distributed job queue: JSON API, dashboard and workers on PostgreSQL and Redis."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask

from app import compression, config, database, schema, security, statement_timeouts
from app.extensions import csrf, db, migrate

__version__ = "0.1.0"


class Application(Flask):
    """Flask without coroutines: looking for them took 3% of a request, since each hook and view is asked."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(settings: config.Settings | None = None, *, serves_web: bool = True) -> Flask:
    """The complete application. Raises ConfigError, with a single sentence, if a setting is invalid.

    Without ``serves_web`` it has no routes and no commands, which a handler in a child process does not need.
    """
    settings = settings or config.load()
    app = Application(__name__, template_folder="../templates", static_folder="../static")
    app.extensions["settings"] = settings
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=database.engine_options(settings),
        MAX_CONTENT_LENGTH=max(settings.max_body_bytes, settings.max_bulk_bytes),
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    logging.getLogger("app").setLevel(settings.log_level)
    db.init_app(app)
    with app.app_context():
        database.attend(db.engine)
    migrate.init_app(app, db)
    statement_timeouts.init_app(app, db)
    compression.init_app(app)
    # Authentication before the CSRF check, which reads the body: no body is read for unauthorized senders.
    security.init_app(app, settings)
    csrf.init_app(app)
    app.before_request(schema.refuse_until_ready)
    _wire(app, settings)
    if serves_web:
        _add_routes(app)
    return app


def _wire(app: Flask, settings: config.Settings) -> None:
    # Imported here: these packages need the extensions above, and the domain needs none of them.
    from app.broker.publisher import Publisher
    from app.jobs import registry
    from app.jobs.combiner import KEPT_CONNECTIONS, Combiner
    from app.jobs.schedules import checks

    registry.discover(settings.job_modules)
    checks.check_declared()
    publisher = Publisher(settings.redis_url, settings.redis_prefix)
    app.extensions["publisher"] = publisher
    connections = database.engine_options(settings)["pool_size"]
    with app.app_context():
        app.extensions["combiner"] = Combiner(
            db.engine, publisher.publish, max_alone=connections - KEPT_CONNECTIONS
        )


def _add_routes(app: Flask) -> None:
    from app import cli, metrics
    from app.api import blueprint as api
    from app.dashboard import dashboard

    csrf.exempt(api)
    app.register_blueprint(api)
    app.register_blueprint(dashboard)
    app.register_blueprint(metrics.blueprint)
    cli.register(app)
