"""The built-in job types. Importing the package registers them."""

from app.handlers import http_request, send_email, trying_out

__all__ = ["http_request", "send_email", "trying_out"]
