"""JSON for reading: exact, foldable, cut, masked, escaped."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from app.dashboard.present.json_tree import FOLD_ABOVE, MAX_NODES, MAX_STRING, document
from app.security import MASK, is_secret_name


def show(value: Any) -> Any:
    return document("payload", "Payload", value, "/api/jobs/1")


def text_of(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", html))


@pytest.mark.parametrize(
    "value",
    [
        [1, "a"],
        {"a": 1, "b": [2, 3]},
        None,
        True,
        False,
        0,
        -1.5,
        10**30,
        "",
        "text",
        [],
        {},
        [[]],
        {"a": {}},
        1e300,
        "Zoë 日本 🎉",
    ],
)
def test_any_value_is_shown_as_it_is(value: Any) -> None:
    shown = text_of(show(value).html)
    # A fold tells how many entries it holds; without that, what is left is the value itself.
    plain = re.sub(r"\d+ entr(?:y|ies)[}\]]", "", shown)
    assert json.loads(plain) == value


def test_big_integers_are_exact() -> None:
    assert "184467440737095516150" in show({"n": 184467440737095516150}).html


def test_the_copied_json_equals_the_value_of_the_job() -> None:
    value = {"to": "ada", "n": [1, {"x": None}], "ü": "\u2028"}
    assert json.loads(show(value).text) == value


def test_large_containers_start_folded_and_keep_their_ids() -> None:
    html = show({"small": [1, 2], "large": list(range(FOLD_ABOVE + 1))}).html
    assert '<details class="json-node" id="payload-0" open>' in html
    assert '<details class="json-node" id="payload-0-0" open>' in html
    assert '<details class="json-node" id="payload-0-1">' in html


def test_a_long_string_is_cut_and_says_by_how_much() -> None:
    shown = show({"text": "x" * (MAX_STRING + 500)})
    assert "… 500 more characters" in shown.html
    assert shown.is_cut
    assert len(shown.html) < MAX_STRING + 1500


def test_a_huge_document_is_truncated_and_says_so() -> None:
    shown = show([{"n": n} for n in range(50_000)])
    assert shown.is_cut
    assert "more" in shown.html
    assert shown.html.count('class="json-row"') <= MAX_NODES
    assert len(shown.html) < 200_000
    assert shown.text is None  # fetched whole from the API instead
    assert shown.size > 500_000


def test_deep_nesting_ends_before_the_page_does() -> None:
    value: Any = "bottom"
    for _ in range(300):
        value = [value]
    shown = show(value)
    assert shown.is_cut
    assert "bottom" not in shown.html


def test_secrets_are_masked_in_the_tree_and_in_the_copy() -> None:
    value = {
        "user": "ada",
        "password": "hunter2",
        "auth": {"apiKey": "sk-1", "list": [{"token": "t-1"}]},
    }
    shown = show(value)
    for secret in ("hunter2", "sk-1", "t-1"):
        assert secret not in shown.html
        assert secret not in (shown.text or "")
    assert MASK in shown.html
    assert "ada" in shown.html


@pytest.mark.parametrize(
    "name",
    [
        "password", "Password", "user_password", "userPassword", "passwd", "secret", "client_secret",
        "api_key", "apiKey", "API-KEY", "apikey", "token", "access_token", "accessToken", "authorization",
        "Authorization", "private_key", "credentials", "cookie", "card_number", "cvv",
    ],
)  # fmt: skip
def test_names_that_look_like_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "user",
        "key",
        "keyboard",
        "passenger",
        "author",
        "tokenizer",
        "to",
        "subject",
        "n_tokens_used",
    ],
)
def test_names_that_do_not_look_like_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_keys_and_strings_are_escaped() -> None:
    html = show({"<b>": "</span><script>alert(1)</script>"}).html
    assert "<b>" not in html
    assert "<script>" not in html
