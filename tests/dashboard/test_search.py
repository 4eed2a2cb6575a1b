"""What people type into the search box."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest

from app.dashboard.present.search import Search, masked_search, parse
from tests import factories as make


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("", Search()),
        ("timeout", Search(text="timeout")),
        ("01a20b68", Search(text="01a20b68")),
        ("id:01a2", Search(id_part="01a2")),
        ("tag:vip", Search(tag="vip")),
        ("error:timeout", Search(error="timeout")),
        ('error:"connection refused" acme', Search(error="connection refused", text="acme")),
        ("payload.user_id:42", Search(payloads=[{"user_id": 42}, {"user_id": "42"}])),
        ("payload.user_id=42", Search(payloads=[{"user_id": 42}, {"user_id": "42"}])),
        ('payload.user_id:"42"', Search(payloads=[{"user_id": "42"}])),
        ("payload.to:ada@example.com", Search(payloads=[{"to": "ada@example.com"}])),
        (
            'payload.a.b:true payload.a.c:"x"',
            Search(payloads=[{"a": {"b": True, "c": "x"}}, {"a": {"b": "true", "c": "x"}}]),
        ),
        ("payload.n:NaN", Search(payloads=[{"n": "NaN"}])),
        ("payload.a:1 payload.a.b:2", Search(payloads=[{"a": 1}, {"a": "1"}])),
        (
            "user_id:42",
            Search(text="user_id:42", text_payloads=[{"user_id": 42}, {"user_id": "42"}]),
        ),
        ("user.id=7a", Search(text="user.id=7a", text_payloads=[{"user": {"id": "7a"}}])),
        ("user_id:42 acme", Search(text="user_id:42 acme")),
        ("12:30", Search(text="12:30")),
        ("https://example.com/x:y", Search(text="https://example.com/x:y")),
        ('say "hi" twice', Search(text='say "hi" twice')),
        ('"say hi"', Search(text="say hi")),
        ('"', Search(text='"')),
        ('"a" and "b"', Search(text='"a" and "b"')),
        ("in C:\\temp\\new", Search(text="in C:\\temp\\new")),
        ("two  blanks\tand a tab", Search(text="two  blanks\tand a tab")),
        ("line one\nline two tag:vip", Search(text="line one\nline two", tag="vip")),
        ('error:"say \\"hi\\""', Search(error='say "hi"')),
        ("error:C:\\temp", Search(error="C:\\temp")),
        ('payload.q:"say \\"hi\\""', Search(payloads=[{"q": 'say "hi"'}])),
        ("myid:01a2", Search(text="myid:01a2", text_payloads=[{"myid": "01a2"}])),
        # A quote within a value is a part of it.
        ('payload.odd:"a"b"', Search(payloads=[{"odd": 'a"b'}])),
        ('payload.odd:"a"b" tag:vip', Search(payloads=[{"odd": 'a"b'}], tag="vip")),
        ('error:"x"y z" acme', Search(error='x"y z', text="acme")),
        ('payload.a:"5"" payload.b:"c d"', Search(payloads=[{"a": '5"', "b": "c d"}])),
        ('odd:"a"b"', Search(text='odd:"a"b"', text_payloads=[{"odd": 'a"b'}])),
        ('odd:"a b"c"', Search(text='odd:"a b"c"', text_payloads=[{"odd": 'a b"c'}])),
        ('error:"C:\\temp\\" tag:vip', Search(error="C:\\temp\\", tag="vip")),
        # Without its closing quote, as while it is typed, a value takes the rest.
        ('payload.odd:"a"b', Search(payloads=[{"odd": 'a"b'}])),
        ('error:"connection ref', Search(error="connection ref")),
        (
            'tag:vip error:"connection refused"acme',
            Search(tag="vip", error='connection refused"acme'),
        ),
        ('payload.odd:a"b', Search(payloads=[{"odd": 'a"b'}])),
        ('error:"', Search(error='"')),
        ('error:""', Search(error="")),
    ],
)
def test_terms_become_filters(q: str, found: Search) -> None:
    assert parse(q) == found


def test_the_number_of_readings_is_limited() -> None:
    many = " ".join(f"payload.f{n}:{n}" for n in range(12))
    assert parse(many).payloads == [{f"f{n}": n for n in range(12)}]
    assert len(parse(" ".join(many.split()[:4])).payloads) == 16


@pytest.mark.parametrize(
    "q", ["payload.user_id:42", "payload.user_id=42", "user_id:42", "user_id=42", "customer:acme"]
)
def test_a_number_matches_numbers_and_text(client: Any, session: Any, q: str) -> None:
    wanted = [
        make.pending_job(payload={"user_id": 42, "customer": "acme"}),
        make.pending_job(payload={"user_id": "42"}, tags=["customer:acme"]),
    ]
    other = make.pending_job(payload={"user_id": 421, "customer": "acmes"})
    page = client.get("/jobs", query_string={"q": q}).text
    assert all(f'id="job-{job.id}"' in page for job in wanted)
    assert f'id="job-{other.id}"' not in page


@pytest.mark.parametrize(
    ("q", "shown"),
    [
        ("tag:vip", "tag:vip"),
        ("id:01a2 tag:vip", "id:01a2 tag:vip"),
        ("payload.token:abc", "••••••"),
        ("token:abc", "••••••"),
        ("error:abc", "••••••"),
        ("abc tag:vip payload.a:1", "tag:vip ••••••"),
        ('payload.a:"b tag:vip"', "••••••"),
        ('tag:"very important" id:01a2', 'tag:"very important" id:01a2'),
        ('tag:"x payload.a:1', "••••••"),
        ('tag:"x"y payload.a:1" id:01a2', "id:01a2 ••••••"),
    ],
)
def test_a_search_is_masked_for_readers_who_may_not_read_payloads(q: str, shown: str) -> None:
    assert masked_search(q) == shown


@pytest.mark.parametrize("q", ['payload.odd:"a"b"', 'odd:"a"b"', 'payload.odd:a"b', 'a\\"b'])
def test_a_quote_within_a_value_is_found(client: Any, session: Any, q: str) -> None:
    wanted = make.pending_job(payload={"odd": 'a"b'})
    other = make.pending_job(payload={"odd": "a"})
    page = client.get("/jobs", query_string={"q": q}).text
    assert f'id="job-{wanted.id}"' in page
    assert f'id="job-{other.id}"' not in page


@pytest.mark.parametrize("q", ['error:"say "hi" now"', 'tag:vip payload.a:"say "hi""'])
def test_quotes_within_quotes_are_refused(client: Any, session: Any, q: str) -> None:
    for path in ("/jobs", "/jobs/all"):
        refused = client.get(path, query_string={"q": q})
        assert refused.status_code == 422
        text = unescape(refused.text)
        assert 'The value "say "hi"' in text
        assert 'Write \\" for a quote inside a quoted value, as in error:"say \\"hi\\"".' in text
    escaped = 'error:"say \\"hi\\" now" payload.a:"b" id:"01" error:say"'
    assert client.get("/jobs", query_string={"q": escaped}).status_code == 200
