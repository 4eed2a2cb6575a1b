"""Why a bulk action can't be started or undone."""

from __future__ import annotations

from app.errors import JobQueueError


class BulkActionEnded(JobQueueError):
    """Bulk action {number} has {state}, so it can't be {wanted}."""

    http_status, code = 409, "bulk_ended"


class BulkActionUndone(JobQueueError):
    """Bulk action {number} is being undone, or was undone, by bulk action {undo}."""

    http_status, code = 409, "bulk_undone"


class NothingToUndo(JobQueueError):
    """Bulk action {number} can't be undone: {reason}."""

    http_status, code = 409, "nothing_to_undo"


class PreviewInvalid(JobQueueError):
    """The preview is not valid: {reason}. Make a new one."""

    http_status, code = 422, "preview_invalid"

    @property
    def errors(self) -> dict[str, list[str]]:
        return {"preview": [str(self)]}
