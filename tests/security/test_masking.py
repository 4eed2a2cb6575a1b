"""What is named like a secret is masked: by words in any spelling, in pairs, URLs, text and JSON in strings."""

from __future__ import annotations

import html
import json
import time
from typing import Any

import pytest

from app.security import MASK, is_secret_name, masked
from app.security.secrets import _is_secret_name
from tests import factories

SECRET = "hunter2Zq"


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "passwd", "Password ", " password", "password1", "password_confirmation", "passwordHash",
        "new-password", "user.password", "pwd", "PWD2", "db_pwd", "passcode", "passphrase", "passkey", "pass", "db_pass", "userpass",
        "accesstoken", "refreshtoken", "AUTHTOKEN", "authToken", "token", "x-csrf-token", "tokens", "tokenValue", "id_token", "botToken",
        "bearer", "jwt", "JWT", "otp", "otpCode", "pin", "PIN", "userPin", "pin_code", "sessionid", "session_id", "PHPSESSID", "sid",
        "private key", "private_key", "privateKeyPem", "signing-key", "encryption_key", "encryptionKeys", "secret-key", "SecretAccessKey",
        "AWS_SECRET_ACCESS_KEY", "api key", "apiKeys", "x-api-key", "dsn", "SENTRY_DSN", "connectionString", "connection_uri",
        "client_secret", "secrets", "credentials", "Authorization", "proxy-authorization", "Set-Cookie", "cookies", "cvv", "cvv2", "card number",
        "ssn", "x-amz-signature", "sig", "recovery_codes", "verificationCode", "webhook_key", "ｐａｓｓｗｏｒｄ", "pass\u200bword", "p_a_s_s_w_o_r_d",
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "user", "key", "keys", "keyboard", "keyword", "passenger", "passengers", "compass", "passed", "author", "authors", "tokenizer",
        "n_tokens_used", "token_count", "to", "subject", "id", "job_id", "session", "spin", "pinned", "pins", "opinion", "footprint", "option",
        "bearing", "code", "country_code", "url", "hash", "name", "value", "primaryKey", "foreign_key", "sort_key", "signed", "design", "", "ключ",
    ],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value",
    [
        {"headers": [{"name": "Authorization", "value": SECRET}]},
        {"Name": "X-Api-Key", "Value": SECRET, "enabled": True},
        {"key": "DB_PASSWORD", "v": SECRET},
        {"header": "Cookie", "anything": SECRET},
        {"headers": [["Authorization", SECRET], ["Accept", "*/*"]]},
        {"argv": ["curl", "--token", SECRET, "https://example.com"]},
        {"url": f"https://example.com/hook?user=7&api_key={SECRET}&x=1"},
        {"url": f"https://example.com/hook?api%5Fkey={SECRET}"},
        {"url": f"https://example.com/#access_token={SECRET}"},
        {"url": f"postgresql://shop:{SECRET}@db.example.com:5432/shop"},
        {"url": f"https://{SECRET}0123456789@github.com/x.git"},
        {"body": f"user=ada&password={SECRET}&next=/"},
        {"body": json.dumps({"user": "ada", "password": SECRET})},
        {"body": json.dumps({"body": json.dumps({"deep": [{"pin": SECRET}]})})},
        {"body": json.dumps([{"name": "password", "value": SECRET}])},
        {"body": f'not quite JSON {{"password": "{SECRET}", "user": 7}}'},
        {"body": '{"cut": "off", "password": "' + SECRET},
        {"body": f'say \\"password\\": \\"{SECRET}\\" please'},
        {"text": f"POST / HTTP/1.1\nAuthorization: Bearer {SECRET}\nCookie: a=1; b={SECRET}\nAccept: */*"},
        {"text": f"private key: {SECRET}"},
        {"text": f"password => '{SECRET}'"},
        {"text": f"export DB_PASSWORD={SECRET}"},
        {"text": f"use bearer {SECRET} for it"},
        {"text": f"eyJ{SECRET}0123.eyJ{SECRET}0123.{SECRET}"},
        {"text": f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----"},
        {"password": {"deep": [SECRET]}},
        {"password": [SECRET], "pin": 1234},
        [{"a": [{"b": {"credentials": {"user": SECRET}}}]}],
    ],
    ids=str,
)  # fmt: skip
def test_secrets_are_masked_wherever_they_stand(value: Any) -> None:
    shown = json.dumps(masked(value), ensure_ascii=False)
    assert SECRET not in shown
    assert MASK in shown


@pytest.mark.parametrize(
    "value",
    [
        {"to": "ada@example.com", "subject": "Your invoice: 5 = five", "n": 7, "ok": None},
        {"url": "https://example.com:8443/path?user=7&page=2#top"},
        {"body": '{"user":  "ada", "n": [1, 2]}'},
        {"text": "Meet at 10:30; the key: under the mat. a=b, c => d"},
        {"pairs": [{"name": "Accept", "value": "*/*"}], "list": ["a", "b"], "at": "2026-11-25T10:00:00Z"},
        ["Accept", "*/*"],
        "",
        5,
        None,
    ],
    ids=str,
)  # fmt: skip
def test_all_else_stays_as_it_is(value: Any) -> None:
    assert masked(value) == value


def test_what_stands_around_a_secret_stays() -> None:
    value = {"url": f"https://ada:{SECRET}@example.com/hook?api_key={SECRET}&page=2"}
    assert masked(value) == {"url": f"https://ada:{MASK}@example.com/hook?api_key={MASK}&page=2"}
    text = f"user=ada\npassword={SECRET}\nhost=db"
    assert masked([text]) == [f"user=ada\npassword={MASK}\nhost=db"]


def test_the_original_is_not_changed() -> None:
    value = {"password": SECRET, "list": ["--token", SECRET]}
    before = json.dumps(value)
    masked(value)
    assert json.dumps(value) == before


# -------------------------------------------------------------------------------- bounded


def test_long_names_are_not_kept() -> None:
    _is_secret_name.cache_clear()
    for n in range(50):
        is_secret_name(f"{n:04}" + "x" * 900_000)
    assert not is_secret_name("x" * 900_000)
    assert _is_secret_name.cache_info().currsize <= 51
    assert is_secret_name("password" + "x" * 900_000)


@pytest.mark.parametrize(
    "text",
    [
        "a:" * 500_000, "password:" * 100_000, 'password:"' * 100_000, "://" * 300_000, "bearer " * 140_000, "eyJ" * 300_000, "a b " * 250_000,
        "token" * 200_000, "\\" * 999_999 + ":", "[" * 100_000, '{"password":' * 80_000, "-----BEGIN PRIVATE KEY-----" * 30_000, "%" * 1_000_000,
        "a" * 1_000_000 + "=", " " * 1_000_000, "x://" + "a" * 1_000_000,
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_hostile_text_is_masked_in_linear_time(text: str) -> None:
    started = time.process_time()
    masked({"text": text + " pin"})
    assert time.process_time() - started < 1.5


def test_a_long_text_with_secrets_ends_masked() -> None:
    text = "x" * 200_000 + f" password={SECRET}"
    assert SECRET not in masked(text)
    assert masked("x" * 200_000) == "x" * 200_000


def test_deep_json_is_masked_whole() -> None:
    value: Any = SECRET
    for _ in range(5000):
        value = [value]
    assert masked(value) == MASK


# --------------------------------------------------------------- a viewer can't search for it


@pytest.fixture
def stored(closed: Any, session: Any) -> str:
    """The id of a failed job whose payload holds a secret."""
    payload = {
        "db": {"password": SECRET},
        "user_id": 42,
        "headers": [{"name": "Authorization", "value": SECRET}, ["X-Api-Key", SECRET]],
        "url": f"https://example.com/?api_key={SECRET}",
        "body": json.dumps({"pin": SECRET}),
    }
    job = factories.failed_job(payload=payload, error="boom")
    factories.pending_job(payload={"user_id": 7})
    return str(job.id)


WORDS = [f'"password": "{SECRET[0]}', SECRET, SECRET[:4], "user_id", "42"]


def test_masked_values_are_not_read_by_search(
    closed: Any, stored: str, bearer: Any, sign_in: Any
) -> None:
    client, eve = closed.test_client(), sign_in("eve")
    nothing = {
        path: client.get(path + "zzzz", headers=bearer("viewer"))
        for path in ("/api/jobs?search=", "/api/dead-letters?search=")
    }
    for words in WORDS:
        for path, none in nothing.items():
            # Alone and with what narrows to the one job.
            for more in ("", f"&idPrefix={stored}" if "dead" not in path else "&type=echo"):
                for limit in ("", "&limit=1"):
                    found = client.get(path + words + more + limit, headers=bearer("viewer"))
                    assert (found.json, found.headers.get("Link")) == ([], none.headers.get("Link"))
        for path in ("/jobs", "/jobs/all", "/dead-letters"):
            page = eve.get(path, query_string={"q": words})
            assert page.status_code == 200
            assert stored not in page.text
    # It is found by what a viewer may read, and by others in full.
    assert len(client.get("/api/jobs?search=boom", headers=bearer("viewer")).json) == 1
    for path in nothing:
        assert len(client.get(path + SECRET, headers=bearer("operator")).json) == 1


@pytest.mark.parametrize(
    "filter", [{"db": {"password": SECRET}}, {"db": {}}, {"user_id": 42}, {"user_id": 5}, {}]
)
def test_a_viewer_does_not_filter_by_payload(
    closed: Any, stored: str, bearer: Any, filter: dict[str, Any]
) -> None:
    client = closed.test_client()
    query = {"payload": json.dumps(filter)}
    refused = client.get("/api/jobs", query_string=query, headers=bearer("viewer"))
    assert (refused.status_code, refused.json["code"]) == (403, "forbidden")
    assert "operator" in refused.json["message"]
    assert (
        client.get("/api/jobs", query_string=query, headers=bearer("operator")).status_code == 200
    )


@pytest.mark.parametrize("path", ["/jobs", "/jobs/all"])
def test_a_viewer_does_not_filter_by_payload_in_the_dashboard(
    stored: str, sign_in: Any, path: str
) -> None:
    query = {"q": f"payload.db.password:{SECRET}"}
    refused = sign_in("eve").get(path, query_string=query)
    assert refused.status_code == 403
    assert "operator" in refused.text
    assert stored not in refused.text
    assert stored in sign_in("bob").get(path, query_string=query).text


def test_the_command_for_another_job_asks_for_its_secrets(stored: str, sign_in: Any) -> None:
    page = html.unescape(sign_in("bob").get(f"/jobs/{stored}").text)
    assert "${PASSWORD:?}" in page
    assert "${VALUE:?}" in page


def test_the_pages_and_answers_of_a_viewer_hold_no_secret(
    closed: Any, stored: str, bearer: Any, sign_in: Any
) -> None:
    client, eve = closed.test_client(), sign_in("eve")
    for path in (
        f"/api/jobs/{stored}",
        "/api/jobs",
        f"/api/dead-letters/{stored}",
        "/api/dead-letters",
    ):
        assert SECRET not in client.get(path, headers=bearer("viewer")).text
    for path in (f"/jobs/{stored}", "/jobs", "/dead-letters", "/failures", "/", "/jobs/all"):
        assert SECRET not in eve.get(path).text
