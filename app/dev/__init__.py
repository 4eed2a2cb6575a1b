"""The environment for development and tests: a real PostgreSQL and a real Redis, private to a checkout.

Stands apart from the application: it imports ``app.config`` only, and nothing imports it but
tests. Command line: ``python -m app.dev --help``.
"""


class DevError(Exception):
    """What stands in the way of starting, as one sentence that also says the fix."""
