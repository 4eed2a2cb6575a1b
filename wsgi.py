"""The entry points: ``flask --app wsgi …``, and the web by ``granian --interface rsgi … wsgi:front``."""

import logging
import sys

from app import config, create_app, logs
from app.config import ConfigError
from app.front import Front

try:
    settings = config.load()
    config.check_door(settings)
    logs.configure(settings)
    app = create_app(settings)
    front = Front(app, settings)
except ConfigError as error:
    sys.exit(f"Cannot start: {error}")

if settings.is_auth_disabled and not settings.is_development:
    logging.getLogger("app").warning(
        "AUTH_DISABLED=1: whoever reaches this address can read and change every job."
    )
