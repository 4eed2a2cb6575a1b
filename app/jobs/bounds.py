"""The bounds of a job's fields, for the JSON API, Python and the dashboard."""

from app.names import MAX_NAME

DAY = 86_400

MIN_PRIORITY, MAX_PRIORITY = -100, 100
PRIORITY_RULE = f"must be a whole number from {MIN_PRIORITY} to {MAX_PRIORITY}."
MAX_ATTEMPTS = 100
MAX_TIMEOUT_SECONDS = 7 * DAY
MAX_DELAY_SECONDS = 3650 * DAY
#: The longest wait that a handler can ask for: more is a mistake (milliseconds for seconds).
MAX_WAIT_SECONDS = 10 * 366 * DAY
MAX_UNIQUE_KEY = 200
MAX_TAGS = 20
MAX_TAG = 64
MAX_SEARCH = 200
#: How long an Idempotency-Key is kept.
IDEMPOTENCY_HOURS = 24

__all__ = [
    "DAY",
    "IDEMPOTENCY_HOURS",
    "MAX_ATTEMPTS",
    "MAX_DELAY_SECONDS",
    "MAX_NAME",
    "MAX_PRIORITY",
    "MAX_SEARCH",
    "MAX_TAG",
    "MAX_TAGS",
    "MAX_TIMEOUT_SECONDS",
    "MAX_UNIQUE_KEY",
    "MAX_WAIT_SECONDS",
    "MIN_PRIORITY",
    "PRIORITY_RULE",
]
