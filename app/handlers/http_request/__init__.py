"""The job type ``http-request``. Importing the package registers it."""

from app.handlers.http_request.handler import http_request

__all__ = ["http_request"]
