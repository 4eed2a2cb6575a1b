"""What the strict content security policy and the morph demand of every template and page."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import factories as make
from tests.dashboard.conftest import TICK

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
SHEETS = sorted((ROOT / "static" / "css").glob("*.css"))
FORBIDDEN = {
    "an inline style": r"\sstyle\s*=",
    "a style element": r"<style\b",
    "an inline script": r"<script(?![^>]*\bsrc=)",
    "an event handler": r"\son[a-z]+\s*=",
    "hx-on": r"\bhx-on",
    "an evaluated value": r"=\s*[\"']js:",
    "a javascript address": r"javascript:",
    "a trigger filter": r"hx-trigger=\"[^\"]*\[",
    "unescaped output": r"\|\s*safe\b|autoescape\s+false",
    "autofocus inside a region": r"\bautofocus\b",
    "something from elsewhere": r"(?:src|href)=\"https?:",
    "a rule about statuses": r"\{%[^%]*\bstatus\s*[!=]=",
}


@pytest.mark.parametrize(
    "template", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates"))
)
def test_templates_contain_nothing_forbidden(template: Path) -> None:
    text = re.sub(r"\{#.*?#\}", "", template.read_text(), flags=re.S)
    found = [name for name, pattern in FORBIDDEN.items() if re.search(pattern, text, re.I)]
    # The door has no region that refreshes.
    allowed = ["autofocus inside a region"] if template.name == "sign_in.html" else []
    assert found == allowed


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_small_and_evaluates_nothing(script: Path) -> None:
    text = script.read_text()
    assert len(text.splitlines()) <= 80
    assert not re.search(
        r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|\.style\b|document\.write",
        text,
    )


def test_every_sheet_and_script_is_loaded_and_exists() -> None:
    from app.dashboard.assets import SCRIPTS as scripts
    from app.dashboard.assets import STYLESHEETS as sheets

    assert sorted(scripts) == [path.name for path in SCRIPTS]
    elsewhere = {"api-docs.css"}  # the page of the API's documentation loads its own
    assert sorted(sheets) == [path.name for path in SHEETS if path.name not in elsewhere]


def test_sheets_load_nothing_from_elsewhere_and_use_known_tokens() -> None:
    text = "\n".join(path.read_text() for path in SHEETS)
    assert "@import" not in text
    assert all(url.startswith('"data:image/svg+xml') for url in re.findall(r"url\((.{0,24})", text))
    defined = set(re.findall(r"(--[a-z0-9-]+)\s*:", text))
    assert set(re.findall(r"var\((--[a-z0-9-]+)", text)) <= defined


class _Page(HTMLParser):
    """Ids, form fields and labels of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


@pytest.fixture
def pages(client: FlaskClient, session: Any) -> dict[str, str]:
    jobs = [factory(tags=["a"]) for factory in make.BY_VIEW.values()]
    make.attempt(jobs[-2])
    make.log_line(jobs[-2])
    make.worker(running=[{"jobId": str(jobs[3].id), "type": "echo", "attempt": 1, "since": None}])
    make.paused_queue("slow")
    schedule = make.schedule("nightly", payload={"to": ["ada"]})
    make.tick(schedule, job_id=jobs[4].id)
    make.tick(schedule, ago=90, outcome="missed", n=3)
    make.paused_schedule("paused")
    make.limit(
        "stripe", types=("charge",), rate_count=5, rate_seconds=1, override={"concurrency": 2}
    )
    for key in ("a", "b / c"):
        make.waiting_job(key=key)
    urls = [
        "/", "/jobs", "/jobs?q=nobody", "/failures/dead-letters", "/failures", "/failures/discarded", "/queues", "/workers", "/nowhere", "/schedules",
        "/schedules/nightly", "/schedules/paused", "/limits", "/limits/stripe", "/jobs?status=waiting",
        *(f"/jobs/{job.id}" for job in jobs),
    ]  # fmt: skip
    found = {url: client.get(url).text for url in urls}
    return found | {f"{url} (part)": client.get(url, headers=TICK).text for url in urls[:-1]}


def test_rendered_pages_contain_nothing_forbidden(pages: dict[str, str]) -> None:
    for url, text in pages.items():
        for name, pattern in list(FORBIDDEN.items())[:8]:
            assert not re.search(pattern, text, re.I), f"{name} in {url}"


def test_ids_are_unique(pages: dict[str, str]) -> None:
    for url, text in pages.items():
        ids = Counter(attrs["id"] for _, attrs in _Page(text).elements if "id" in attrs)
        assert [name for name, n in ids.items() if n > 1] == [], url


def test_rows_details_and_fields_have_ids_for_the_morph_to_follow(pages: dict[str, str]) -> None:
    for url, text in pages.items():
        region = text.partition('<section id="live"')[2]
        body = re.sub(r"<thead.*?</thead>", "", region, flags=re.S).partition("</main>")[0]
        for tag, attrs in _Page(body).elements:
            if tag in ("tr", "details", "select", "progress") or (
                tag == "input" and attrs.get("type") != "hidden" and attrs.get("name") != "ids"
            ):
                assert attrs.get("id"), f"{tag} {attrs} in {url}"


def test_every_button_that_acts_belongs_to_the_form_with_the_token(pages: dict[str, str]) -> None:
    for url, text in pages.items():
        elements = _Page(text).elements
        acting = [attrs for tag, attrs in elements if tag == "button" and "formaction" in attrs]
        assert all(attrs["form"] == "act" and attrs["hx-post"] == "" for attrs in acting)
        if "(part)" in url:
            continue
        assert re.search(
            r'<form id="act" method="post" hidden><input type="hidden" name="csrf_token" value="[^"]{20,}">',
            text,
        ), url
        posts = [
            attrs for tag, attrs in elements if tag == "form" and attrs.get("method") == "post"
        ]
        assert {attrs["id"] for attrs in posts} <= {"act", "selected"}
        assert text.count('name="csrf_token"') == len(posts)


def test_a_form_that_posts_by_itself_has_its_token(
    client: FlaskClient, session: Any, press: Any
) -> None:
    asked = press(f"/jobs/{make.completed_job().id}/delete").text
    assert asked.count('name="csrf_token"') == asked.count('method="post"') == 2


def test_icon_buttons_and_fields_have_names(pages: dict[str, str]) -> None:
    for url, text in pages.items():
        page = _Page(text)
        labelled = {attrs.get("for") for tag, attrs in page.elements if tag == "label"}
        for tag, attrs in page.elements:
            if tag == "button" and "is-quiet" in (attrs.get("class") or ""):
                assert attrs.get("aria-label"), f"{attrs} in {url}"
            if tag in ("select", "input") and attrs.get("type") not in ("hidden", "radio"):
                is_named = (
                    attrs.get("aria-label")
                    or attrs.get("id") in labelled
                    or re.search(
                        rf'<label class="field"><span class="sr">[^<]+</span>\s*<{tag}[^>]*id="{attrs.get("id")}"',
                        text,
                    )
                )
                assert is_named, f"{attrs} in {url}"


def test_every_time_is_a_machine_readable_instant(pages: dict[str, str]) -> None:
    for url, text in pages.items():
        for found in re.findall(r'<time datetime="([^"]*)"', text):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found), url


def test_every_icon_is_in_the_sprite(pages: dict[str, str]) -> None:
    sprite = (ROOT / "templates" / "layout" / "_icons.svg").read_text()
    known = set(re.findall(r'<symbol id="([^"]+)"', sprite))
    used = {name for text in pages.values() for name in re.findall(r'<use href="#([^"]+)"', text)}
    assert used <= known


def test_headers_keep_browsers_strict(app: Flask, client: FlaskClient) -> None:
    for url in ("/", "/nowhere", "/static/css/tokens.css", "/assets/dashboard.css"):
        headers = client.get(url).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in client.get("/health").headers["Content-Security-Policy"]


def test_static_files_are_cached_until_their_content_changes(client: FlaskClient) -> None:
    page = client.get("/").text
    urls = re.findall(r'(?:href|src)="(/(?:static|assets)/[^"]+)"', page)
    assert len(urls) >= 5
    for url in urls:
        answer = client.get(url)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"], url
    assert "immutable" not in client.get("/static/css/tokens.css").headers["Cache-Control"]


def test_the_theme_comes_with_the_page(client: FlaskClient) -> None:
    for kept, shown in (
        ("dark", ' data-theme="dark"'),
        ("light", ' data-theme="light"'),
        ('"><script>', ""),
    ):
        client.set_cookie("theme", kept)
        assert f'<html lang="en"{shown}>' in client.get("/").text


def test_a_bundle_contains_every_part_in_order_and_is_cached_for_a_year(
    client: FlaskClient,
) -> None:
    page = client.get("/").text
    for name, parts in (("dashboard.css", SHEETS), ("dashboard.js", SCRIPTS)):
        [address] = re.findall(rf'"(/assets/{name}[^"]+)"', page)
        answer = client.get(address)
        assert all(path.read_text() in answer.text for path in parts if path.name != "api-docs.css")
        assert "immutable" in answer.headers["Cache-Control"]
        again = client.get(address, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304
        assert "immutable" not in client.get(f"/assets/{name}").headers["Cache-Control"]
    assert client.get("/assets/other.css").status_code == 404
