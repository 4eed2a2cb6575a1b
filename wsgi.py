"""The WSGI entry point: ``flask --app wsgi …`` and ``granian … wsgi:app``."""

import sys

from app import create_app
from app.config import ConfigError

try:
    app = create_app()
except ConfigError as error:
    sys.exit(f"Cannot start: {error}")
