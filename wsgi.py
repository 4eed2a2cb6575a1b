"""The entry points: ``flask --app wsgi …``, and the web by ``granian --interface rsgi … wsgi:front``."""

import logging
import sys
from functools import partial
from threading import Thread

from app import cli, config, create_app, logs, schema
from app.config import ConfigError
from app.front import Front
from app.security.headers import signed_in_name

try:
    settings = config.load()
    is_serving = not cli.is_command()
    if is_serving:  # release and other commands need no credentials
        config.check_access(settings)
    logs.configure(settings)
    app = create_app(settings)
    front = Front(app, settings, partial(signed_in_name, app))
except ConfigError as error:
    sys.exit(f"Cannot start: {error}")

if is_serving and settings.is_auth_disabled and not settings.is_development:
    logging.getLogger("app").warning(
        "AUTH_DISABLED=1: whoever reaches this address can read and change every job."
    )

if is_serving:
    # Serves all the same: /health says it as well, and both are well once the release command has run.
    Thread(target=schema.report, args=(app, logging.getLogger("app")), daemon=True).start()
