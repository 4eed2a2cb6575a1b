"""A job type whose code puts it under a limit (JOB_MODULES=tests.support.handlers,tests.support.limited)."""

from __future__ import annotations

import os
from typing import Any

from app.jobs import Context, Limit, job
from tests.support.handlers import ledger

of_code = Limit("of-code", by="customer", concurrency=int(os.environ.get("OF_CODE", "3")))


@job("limited", limit=of_code)
def limited(payload: dict[str, Any], ctx: Context) -> str:
    """As "ledger"."""
    return ledger(payload, ctx)
