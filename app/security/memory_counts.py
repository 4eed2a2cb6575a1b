"""Counts of rate limits in the memory of this process.

In place of ``limits``' MemoryStorage, which starts a thread every 10 ms while it counts to drop what has expired.
"""

from __future__ import annotations

import time
from threading import Lock

from limits.storage import Storage

#: Expired counts are dropped when there are more counts than this, or than twice those that were left.
SWEEP_ABOVE = 1_000


class MemoryCounts(Storage):
    """Fixed windows: a window starts with its first event."""

    STORAGE_SCHEME = None

    def __init__(self) -> None:
        super().__init__()
        self.windows: dict[str, tuple[int, float]] = {}  # key → (count, end of the window)
        self._sweep_above = SWEEP_ABOVE
        self._lock = Lock()

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        return ()

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """The count of the window after ``amount`` more; a new window ends ``expiry`` seconds from now."""
        now = time.time()
        with self._lock:
            count, end = self.windows.get(key, (0, 0.0))
            if end <= now:
                count, end = 0, now + expiry
            self.windows[key] = count + amount, end
            if len(self.windows) > self._sweep_above:
                self._sweep(now)
        return count + amount

    def _sweep(self, now: float) -> None:
        self.windows = {key: window for key, window in self.windows.items() if window[1] > now}
        self._sweep_above = max(SWEEP_ABOVE, 2 * len(self.windows))

    def get(self, key: str) -> int:
        """The count of the current window."""
        window = self.windows.get(key)
        return window[0] if window is not None and window[1] > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends or ended, in seconds since 1970; now if there is none."""
        window = self.windows.get(key)
        return time.time() if window is None else window[1]

    def check(self) -> bool:
        """Memory is always available."""
        return True

    def reset(self) -> int:
        """Forget all counts; returns how many there were."""
        with self._lock:
            count = len(self.windows)
            self.windows = {}
        return count

    def clear(self, key: str) -> None:
        """Forget one count."""
        with self._lock:
            self.windows.pop(key, None)
