"""The job type ``send-email``. Importing the package registers it."""

from app.handlers.send_email.handler import send_email

__all__ = ["send_email"]
