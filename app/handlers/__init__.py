"""The built-in job types, one file each. Importing the package registers them."""

from app.handlers import echo, fail, http_request, send_email, sleep

__all__ = ["echo", "fail", "http_request", "send_email", "sleep"]
