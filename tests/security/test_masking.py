"""Masking of values with the name of a secret: in any spelling, in pairs, URLs, text and JSON in strings."""

from __future__ import annotations

import html
import json
import time
from typing import Any

import pytest

from app.security import MASK, is_secret_name, masked
from app.security.masking.names import _is_secret_name
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
def test_secrets_are_masked_anywhere_in_json(value: Any) -> None:
    shown = json.dumps(masked(value), ensure_ascii=False)
    assert SECRET not in shown
    assert MASK in shown


def _short(value: Any) -> str:
    return str(value)[:80]


FURTHER = [
    # options of commands
    [f"--token={SECRET}"],
    {"arg": f"--api-key={SECRET}"},
    {"arg": f"-p={SECRET}"},
    {"cmd": f"deploy --api-key {SECRET} --verbose"},
    {"cmd": f"deploy --password --token '{SECRET} {SECRET}'"},
    {"cmd": f"curl -u bob:{SECRET} https://example.com"},
    {"cmd": f"curl --user 'bob:{SECRET}' https://example.com"},
    {"cmd": f"curl -ubob:{SECRET} https://example.com"},
    {
        "cmd": f'curl -H \'Authorization: Digest username="bob", response="{SECRET}"\' https://example.com'
    },
    {"cmd": f"mysql -h db -p{SECRET} shop"},
    {"cmd": f"sshpass -p {SECRET} ssh host"},
    {"cmd": f"docker login -u bob -p {SECRET}"},
    {"cmd": f"redis-cli -h cache -a {SECRET} ping"},
    {"cmd": f"['deploy', '--token', '{SECRET}']"},
    ["psql", "password", SECRET],
    ["--password", SECRET],
    ["deploy", "--password=", f"two {SECRET}"],
    ["user", "bob", "password:", SECRET, "more"],
    ["curl", "-u", f"bob:{SECRET}"],
    ["curl", "-s", "--proxy-user", f"bob:{SECRET}", "https://example.com"],
    ["-u", f"bob:two words {SECRET}", "https://example.com"],
    ["sshpass", "-p", SECRET, "ssh"],
    ["sudo", "mysql", f"-p{SECRET}", "shop"],
    ["docker", "login", "-u", "bob", "-p", SECRET],
    ["curl", "-H", f'Authorization: Digest username="bob", response="{SECRET}"'],
    {"cmd": f"deploy --password \\\n    {SECRET} --verbose"},
    ["sqlcmd", "-U", "sa", "-P", SECRET],
    ["Authorization", "Basic", SECRET],
    ["-H", "Authorization: Basic", SECRET],
    {"cmd": f"curl -u 1000:{SECRET}"},
    {"cmd": f"curl -u bob:{'x' * 9000}{SECRET}"},
    {"cmd": f"run --token {'x' * 9000}{SECRET}"},
    # encoded
    {"q": f"password%3D{SECRET}"},
    {"q": f"password%253D{SECRET}"},
    {"q": f"next=%2Fin%3Fa%3D1%26api_key%3D{SECRET}"},
    {"q": f"%7B%22password%22%3A%22{SECRET}%22%7D"},
    {"q": f"postgres%3A%2F%2Fbob%3A{SECRET}%40db"},
    {"q": f"{{&quot;password&quot;:&quot;{SECRET}&quot;}}"},
    {"q": f"p&#97;ssword={SECRET}"},
    {"q": f"\\u0070assword={SECRET}"},
    {"q": f"pass\u200bword={SECRET}"},
    {"q": f"password\uff1a{SECRET}"},
    # XML
    {"xml": f"<password>{SECRET}</password>"},
    {"xml": f"<Password attr='x'>{SECRET}</Password>"},
    {"xml": f"<a><wsse:Password Type='http://x#y'>{SECRET}</wsse:Password></a>"},
    {"xml": f"<password><![CDATA[{SECRET}]]></password>"},
    {"xml": f"<credentials><user>bob</user><x>{SECRET}</x></credentials>"},
    {"xml": f"<password>{SECRET}"},
    {"xml": f"<field name='password'>{SECRET}</field>"},
    {"xml": f"<add key='DbPassword' value='{SECRET}'/>"},
    {"xml": f"<input name='password' value='{SECRET}'>"},
    {"xml": f"<user login='bob' password='{SECRET}'/>"},
    {"xml": f"<key>password</key>\n  <string>{SECRET}</string>"},
    {"xml": f"&lt;password&gt;{SECRET}&lt;/password&gt;"},
    # URLs
    {"url": f"postgres://{SECRET}@host"},
    {"url": f"x-any+1.0://{SECRET}@host/x"},
    {"url": f"https://{SECRET[:3]}@host"},
    {"url": f"redis://:{SECRET}@host"},
    {"url": f"https://{SECRET}:x-oauth-basic@host/x.git"},
    {"url": f"https://{SECRET}:@host"},
    {"url": f"//bob:{SECRET}@host"},
    {"url": f"postgres://bob:p@{SECRET}@host/db"},
    {"url": f"postgres://bob:p/{SECRET}#1@host/db"},
    {"url": f"postgres://bob:{'x' * 9000}{SECRET}@host"},
    {"url": f"postgres://{'x' * 9000}{SECRET}@host"},
    # YAML, headers, settings
    {"yaml": f"user: bob\npassword: {SECRET}\nport: 5432"},
    {"yaml": f"db:\n  password: |\n    one\n    {SECRET}\n  port: 5432"},
    {"yaml": f"password: >-\n\n  one\n\n  {SECRET}\nport: 5432"},
    {"yaml": f"'password': {SECRET}"},
    {"yaml": f'"pass word" :  {SECRET}'},
    {"yaml": f"- name: db\n  password: |\n    {SECRET}"},
    {"yaml": f"- password: |\n    {SECRET}\n  user: bob"},
    {"yaml": f"tokens:\n- one\n- {SECRET}\nport: 5432"},
    {"yaml": f"credentials:\n  user: bob\n  what: {SECRET}"},
    {"yaml": f"password: it's-{SECRET}"},
    {"yaml": f"{{password: {SECRET}, user: bob}}"},
    {"text": f"Authorization: Basic {SECRET}"},
    {"text": f'Authorization: Digest username="bob", response="{SECRET}"'},
    {"text": f"Authorization: Custom\r\n  {SECRET}\r\nAccept: */*"},
    {"text": f"Cookie: theme=dark; session={SECRET}"},
    {"text": f"password        = {SECRET}"},
    {"text": f"password == '{SECRET}'"},
    {"text": f"password := {SECRET}"},
    {"text": f"password -> {SECRET}"},
    {"text": f'PASSWORD="one\n{SECRET}"'},
    {"text": f'password = """\none\n{SECRET}\n"""'},
    {"text": f'password="a\\"{SECRET}"'},
    {"text": f"password=a,{SECRET}"},
    {"text": f"ALTER USER bob PASSWORD '{SECRET}'"},
    {"text": f"machine example.com login bob password {SECRET}"},
    {"text": f'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\n{SECRET}\r\n--b--'},
    {"text": "the key ghp_" + SECRET * 4},
    {"text": f"say password='{'x' * 9000}{SECRET}' twice"},
    {"xml": f"<password {'x' * 9000}>{SECRET}</password>"},
    # JSON in strings
    {"text": f'got {{"password": ["one", "{SECRET}"]}}'},
    {"text": f'got {{"credentials": {{"user": "bob", "x": {{"y": "{SECRET}"}}}}}}'},
    {"text": f"got {{'password': ['a]b', '{SECRET}']}}"},
    {"text": f'{{"password":\n\n    "{SECRET}"'},
    {"text": f'{{"x": "password={SECRET}", "x": 1}}'},
    {"text": json.dumps(json.dumps({"password": SECRET}))},
    # in keys
    {f"token={SECRET}": 1},
    {f"https://bob:{SECRET}@host/": {"ok": True}},
    [{"deep": {f"password: {SECRET}": {}}}],
    {"x" * 300 + f" --token={SECRET}": 1},
]


@pytest.mark.parametrize("value", FURTHER, ids=_short)
def test_secrets_are_masked_in_the_formats_of_other_programs(value: Any) -> None:
    shown = json.dumps(masked(value), ensure_ascii=False)
    assert SECRET not in shown
    assert SECRET[:3] + "@" not in shown
    assert MASK in shown


HARMLESS = [
    "password reset sent",
    "token count: 12",
    "The password was changed; see https://example.com/password/reset.",
    "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
    "docker run -u 1000:1000 -p 8080:80 app --max-tokens-limit 5",
    "date -u +%H:%M; mkdir -p a/b; sign-up at 5",
    "deploy -p=8080",
    "Only basic authentication is supported.",
    "git clone ssh://git@example.com/x.git",
    "https://registry.example.com/@scope/x@1.0 and http://host:80/@x",
    "http://registry.example.com:5000/app@sha256 and // a comment: x@y",
    "mailto:ada@example.com 50%25 of R&D",
    "<p class='author'>By <code>x</code> &amp; <b>y</b></p>",
    "<field name='title' value='x'>Token</field>",
    "<key>name</key><string>x</string>",
    "title: secrets\n  of the deep: 5",
    "POST /auth/token HTTP/1.1\nAccept: */*\n  more",
    'form-data; name="title"\r\n\r\nx',
    "The key is under the mat",
    '{"a": 1, "a": "token"}',
    ["psql", "-p", "5432", "-U", "bob", "shop"],
    ["docker", "run", "-p", "80:80", "-u", "1000:1000", "app"],
    ["Your password was reset", "Have a nice day", "Bye"],
    {"GET /users/7": 1, "a.b-c": 2, "https://example.com:80/x": 3, "50%": 4, "The author: Bob": 5},
]


@pytest.mark.parametrize("value", HARMLESS, ids=str)
def test_text_that_only_mentions_secrets_is_unchanged(value: Any) -> None:
    assert masked(value) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("db:\n  password: |\n    one\n\n    two\n\n  port: 5432", f"db:\n  password: {MASK}\n\n  port: 5432"),
        (f"<u><password>{SECRET}</password><x>1</x></u>", f"<u><password>{MASK}</password><x>1</x></u>"),
        (f"curl -u bob:{SECRET} https://x.example", f"curl -u bob:{MASK} https://x.example"),
        (f"run --token {SECRET} --port 80", f"run --token {MASK} --port 80"),
        (f"Server=db;Password={SECRET};User Id=bob;Port=1", f"Server=db;Password={MASK};User Id=bob;Port=1"),
        (f"a=1&next=password%3D{SECRET}%26b%3D2", f"a=1&next=password={MASK}&b=2"),
        (f'got {{"secrets": ["{SECRET}"], "n": 5}}', f'got {{"secrets": {MASK}, "n": 5}}'),
        (f"postgres://{SECRET}@db/x", f"postgres://{MASK}@db/x"),
    ],
)  # fmt: skip
def test_text_around_a_masked_value_is_unchanged(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_arguments_around_a_secret_are_unchanged() -> None:
    words = ["curl", "-u", f"bob:{SECRET}", "--token", SECRET, "-v", "https://example.com"]
    assert masked(words) == [
        "curl", "-u", f"bob:{MASK}", "--token", MASK, "-v", "https://example.com",
    ]  # fmt: skip


def test_masked_keys_stay_separate_and_in_order() -> None:
    value = {"ftp://b:one@host": 1, "a": 2, "ftp://b:two@host": 3}
    assert list(masked(value).items()) == [
        (f"ftp://b:{MASK}@host", 1), ("a", 2), (f"ftp://b:{MASK}@host (2)", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("value", FURTHER, ids=_short)
def test_masking_is_idempotent(value: Any) -> None:
    once = masked(value)
    assert masked(once) == once


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
def test_other_values_are_unchanged(value: Any) -> None:
    assert masked(value) == value


def test_text_around_a_secret_is_unchanged() -> None:
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


def test_long_names_are_not_cached() -> None:
    _is_secret_name.cache_clear()
    for n in range(50):
        is_secret_name(f"{n:04}" + "x" * 900_000)
    assert not is_secret_name("x" * 900_000)
    assert _is_secret_name.cache_info().currsize <= 51
    assert is_secret_name("password" + "x" * 900_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a:" * 500_000, "password:" * 100_000, 'password:"' * 100_000, "://" * 300_000, "bearer " * 140_000, "eyJ" * 300_000, "a b " * 250_000,
        "token" * 200_000, "\\" * 999_999 + ":", "[" * 100_000, '{"password":' * 80_000, "-----BEGIN PRIVATE KEY-----" * 30_000, "%" * 1_000_000,
        "a" * 1_000_000 + "=", " " * 1_000_000, "x://" + "a" * 1_000_000,
        "<password>" * 100_000, "<a name='pin'>" * 70_000, "<" * 1_000_000, "<a " * 300_000, "<a value=" * 100_000, "password: |\n" * 90_000,
        "password: |\n" + " \n" * 400_000, "--token " * 120_000, "-" * 1_000_000, "mysql " * 160_000, "-u a" * 250_000, "//a:" * 250_000,
        "%25" * 300_000, "&amp;" * 200_000, "password=[" * 100_000, "password:'\"" * 90_000, 'token="' + '\\"' * 400_000, "'token: " * 120_000,
        "form-data; name=pin\n\n" * 45_000, "<key>pin</key><a>" * 60_000, "login a password " * 60_000, "token=" + "a," * 400_000,
        "token:" + "{\"" * 300_000, "token " * 160_000, "sk-" * 300_000,
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_hostile_text_is_masked_in_linear_time(text: str) -> None:
    started = time.process_time()
    masked({"text": text + " pin"})
    assert time.process_time() - started < 1.5


def test_the_end_of_a_long_text_with_secrets_is_masked() -> None:
    text = "x" * 200_000 + f" password={SECRET}"
    assert SECRET not in masked(text)
    assert masked("x" * 200_000) == "x" * 200_000


def test_deep_json_is_masked_entirely() -> None:
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


def test_search_does_not_reveal_masked_values(
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
        for path in ("/jobs", "/jobs/all", "/failures/dead-letters"):
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
def test_a_viewer_can_not_filter_by_payload(
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
def test_a_viewer_can_not_filter_by_payload_in_the_dashboard(
    stored: str, sign_in: Any, path: str
) -> None:
    query = {"q": f"payload.db.password:{SECRET}"}
    refused = sign_in("eve").get(path, query_string=query)
    assert refused.status_code == 403
    assert "operator" in refused.text
    assert stored not in refused.text
    assert stored in sign_in("bob").get(path, query_string=query).text


def test_a_job_with_secrets_in_keys_and_lists_has_a_page(
    session: Any, closed: Any, sign_in: Any
) -> None:
    payload = {f"ftp://bob:{SECRET}@host": {"pin": SECRET}, "argv": ["curl", "-u", f"b:{SECRET}"]}
    page = sign_in("bob").get(f"/jobs/{factories.pending_job(payload=payload).id}")
    assert page.status_code == 200
    assert SECRET not in page.text
    assert "${PIN:?}" in html.unescape(page.text)


def test_the_command_for_another_job_asks_for_its_secrets(stored: str, sign_in: Any) -> None:
    page = html.unescape(sign_in("bob").get(f"/jobs/{stored}").text)
    assert "${PASSWORD:?}" in page
    assert "${VALUE:?}" in page


def test_pages_and_responses_for_a_viewer_contain_no_secret(
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
    for path in (
        f"/jobs/{stored}",
        "/jobs",
        "/failures/dead-letters",
        "/failures",
        "/",
        "/jobs/all",
    ):
        assert SECRET not in eve.get(path).text
