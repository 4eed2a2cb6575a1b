"""Leaving, by the menu under one's name: on a desk and on a phone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.security.conftest import PASSWORDS, PRODUCTION

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [1280, 390])
def test_a_person_signs_out_everywhere(web: Any, page: Any, width: int) -> None:
    server = web(**PRODUCTION)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(server.url + "/")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORDS["ada"][0])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(server.url + "/")
    page.locator("#who summary").click()
    page.get_by_role("button", name="Sign out everywhere").click()
    page.wait_for_url("**/sign-in")
    page.goto(server.url + "/jobs")
    assert page.url.startswith(server.url + "/sign-in")
