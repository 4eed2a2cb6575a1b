"""The WSGI entry point: ``flask --app wsgi …`` and ``granian … wsgi:app``."""

import logging
import sys

from app import create_app
from app.config import ConfigError

try:
    app = create_app()
except ConfigError as error:
    sys.exit(f"Cannot start: {error}")

if not app.extensions["settings"].is_development:
    logging.getLogger("app").warning(
        "There is no sign-in yet: whoever reaches this address can read and change every job. "
        "Put it behind something that asks who is there."
    )
