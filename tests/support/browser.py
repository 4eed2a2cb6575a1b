"""Where Chromium is, if it is."""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium_path() -> str:
    """The browser's path; without one the test is skipped, or fails if REQUIRE_BROWSER=1."""
    for name in (os.environ.get("CHROMIUM"), *NAMES):
        if name and (found := shutil.which(name)):
            return found
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail("REQUIRE_BROWSER=1, but Chromium was not found; set CHROMIUM to its path.")
    pytest.skip("Chromium was not found")
