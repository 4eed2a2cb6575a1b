"""``make test-fast`` runs every pure test."""

from __future__ import annotations

import pytest

from tests.support import fast


def test_a_file_that_is_skipped_holds_no_pure_test(
    request: pytest.FixtureRequest,
) -> None:
    pure = {
        item.path.relative_to(fast.TESTS).as_posix()
        for item in request.session.items
        if fast.is_pure(item)
    }
    hidden = pure & fast.NOTHING_PURE_FILES
    assert not hidden, f"these hold pure tests, so remove them from NOTHING_PURE: {hidden}"
