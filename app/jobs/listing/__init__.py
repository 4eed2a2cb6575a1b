"""Every SELECT of the API and the dashboard. Nothing here writes.

All functions take a session first. Each statement names the index it uses in a comment beside it,
and stays within a bound however large the table: lists are keyset pages, searches check a limited
number of candidates and say when they stopped there, and so do counts (``Count.is_exact``).
"""

from app.jobs.listing.cursors import OFFSET_BOUND, Page
from app.jobs.listing.dead_letters import (
    count_failed_since,
    count_newer_dead_letters,
    dead_letters_of,
    list_dead_letters,
    open_dead_letter,
)
from app.jobs.listing.error_groups import (
    ALL,
    MAX_ERROR_GROUPS,
    OPEN,
    Counts,
    ErrorGroup,
    count_jobs_by_group,
    count_states,
    error_group_name,
    get_error_group,
    list_error_groups,
    page_of_error_groups,
    shared_counts,
)
from app.jobs.listing.filters import JobFilter
from app.jobs.listing.jobs import (
    attempts_of,
    count_newer_jobs,
    find_ids,
    get_job,
    list_jobs,
    log_of,
    oldest_created,
)
from app.jobs.listing.orders import NEWEST, ORDERED_BY, Order, order_of
from app.jobs.listing.waiting import Waiting, count_ahead, waiting
from app.jobs.listing.walk import CANDIDATES
from app.jobs.listing.workers import WorkerSummary, list_workers, still_running, worker
from app.jobs.statistics.count import Count
from app.jobs.statistics.overview import (
    QueueSummary,
    TypeSummary,
    job_type_overview,
    paused_queues,
    paused_types,
    queue_overview,
)

__all__ = [
    "ALL",
    "CANDIDATES",
    "MAX_ERROR_GROUPS",
    "NEWEST",
    "OFFSET_BOUND",
    "OPEN",
    "ORDERED_BY",
    "Count",
    "Counts",
    "ErrorGroup",
    "JobFilter",
    "Order",
    "Page",
    "QueueSummary",
    "TypeSummary",
    "Waiting",
    "WorkerSummary",
    "attempts_of",
    "count_ahead",
    "count_failed_since",
    "count_jobs_by_group",
    "count_newer_dead_letters",
    "count_newer_jobs",
    "count_states",
    "dead_letters_of",
    "error_group_name",
    "find_ids",
    "get_error_group",
    "get_job",
    "job_type_overview",
    "list_dead_letters",
    "list_error_groups",
    "list_jobs",
    "list_workers",
    "log_of",
    "oldest_created",
    "open_dead_letter",
    "order_of",
    "page_of_error_groups",
    "paused_queues",
    "paused_types",
    "queue_overview",
    "shared_counts",
    "still_running",
    "waiting",
    "worker",
]
