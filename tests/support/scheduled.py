"""Schedules of the code for tests (JOB_MODULES=tests.support.handlers,tests.support.scheduled): the next release."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Any

from marshmallow import Schema

from app.jobs import job, schedule

schedule("of-the-code", "ledger", {"file": os.devnull, "name": "tick"}, every=1, overlap="allow")


class Freezing(Schema):
    """Freezes the process whose pacer checks the payload first, in the transaction of its ticks."""

    def load(self, data: Any, **options: Any) -> Any:
        if threading.current_thread().name == "Pacer":
            with suppress(FileExistsError):
                os.close(os.open(data["file"], os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGSTOP)
        return data


@job("freezing", schema=Freezing)
def freezing(payload: dict[str, Any]) -> None:
    """Nothing."""
