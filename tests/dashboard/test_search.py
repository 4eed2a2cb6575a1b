"""What people type into the search box."""

from __future__ import annotations

import pytest

from app.dashboard.search import Search, parse


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("", Search()),
        ("timeout", Search(text="timeout")),
        ("01a20b68", Search(text="01a20b68")),
        ("id:01a2", Search(id_prefix="01a2")),
        ("tag:vip", Search(tag="vip")),
        ("error:timeout", Search(error="timeout")),
        ('error:"connection refused" acme', Search(error="connection refused", text="acme")),
        ("payload.user_id:42", Search(payload={"user_id": 42})),
        ('payload.user_id:"42"', Search(payload={"user_id": "42"})),
        ("payload.to:ada@example.com", Search(payload={"to": "ada@example.com"})),
        ("payload.a.b:true payload.a.c:null", Search(payload={"a": {"b": True, "c": None}})),
        ("payload.n:NaN", Search(payload={"n": "NaN"})),
        ("payload:42", Search(text="payload:42")),
        ("https://example.com/x:y", Search(text="https://example.com/x:y")),
        ("payload.a:1 payload.a.b:2", Search(payload={"a": 1})),
    ],
)
def test_terms_become_filters(q: str, found: Search) -> None:
    assert parse(q) == found
