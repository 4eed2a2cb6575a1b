"""The statuses of a job."""

PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED = STATUSES = (
    "pending",
    "processing",
    "completed",
    "failed",
    "cancelled",
)
#: A unique key is taken while a job has one of these.
LIVE = (PENDING, PROCESSING)
FINAL = (COMPLETED, FAILED, CANCELLED)
#: The statuses, with pending divided into three views.
VIEWS = ("pending", "scheduled", "retrying", "processing", "completed", "failed", "cancelled")


def has_one_of(statuses: tuple[str, ...], column: str = "status") -> str:
    """The SQL condition that ``column`` is one of ``statuses`` (of STATUSES)."""
    quoted = ", ".join(f"'{status}'" for status in statuses)
    return f"{column} IN ({quoted})"
