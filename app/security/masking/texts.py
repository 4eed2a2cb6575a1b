"""Secrets in text: what names a value (pairs, headers, YAML, XML, options of commands), and what looks like a secret.

Patterns are bounded or possessive, and a masked value is not scanned again, so that the work grows with the
length of the text. Callers bound that length.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

from app.security.masking.names import is_secret_name

MASK = "••••••"

#: Keys and attributes that name what stands beside them, and the keys and attributes of what they name.
NAMING = frozenset(
    ["name", "key", "header", "field", "k", "label", "param", "parameter", "variable", "option"]
)
NAMED = frozenset(["value", "values", "val", "v", "content", "data", "text", "default", "body"])

#: Without one of these there is nothing to mask in a text. Searched one by one: much faster than a pattern.
_HINTS = (
    "pass", "pw", "pswd", "secret", "credential", "bearer", "basic", "auth", "cookie", "signature", "sig", "mnemonic", "seed",
    "kennwort", "token", "code", "key", "sess", "sid", "connection", "conn", "card", "csrf", "xsrf", "pin", "otp", "mfa", "jwt",
    "dsn", "cvv", "cvc", "ssn", "psk", "tan", "eyj", "//", "%", "&#", "\\u", "-----begin", " -u", " -p", " -a", " -w", "--user",
    "identified", "gh", "glpat", "xox", "sk", "akia", "asia", "aiza",
)  # fmt: skip
#: Characters that are not seen: pass<zero width space>word reads like password.
_UNSEEN = "\u00ad\u200b-\u200f\u2060\ufeff"
_UNSEEN_CHARACTER = re.compile(f"[{_UNSEEN}]")
_ESCAPE = re.compile(r"\\u((?![dD][89a-fA-F])[0-9a-fA-F]{4})")

# ------------------------------------------------------------------ by their looks

# Groups are made atomic, (?>(…)*), not possessive, (…)*+: Python before 3.11.5 matches those wrong.
_WORD = r"(?:\"[^\"]*+\"?|'[^']*+'?|[^\s\"']++)"
_NOT_DIGITS = r"(?!\d{1,20}+(?>(?::\d{1,20}+)?)(?:[\s\"']|$))"
#: Commands, and their option for a password.
_PASSWORD_OPTIONS = (
    (r"sshpass|mysql\w{0,9}|mariadb[\w-]{0,9}|mongo\w{0,9}|(?:docker|podman) login", "p"),
    (r"sqlcmd|mosquitto_\w{3}", "P"),
    (r"redis-cli", "a"),
    (r"ldap\w{3,9}", "w"),
)
#: Options whose values are secrets though their names don't say so: group 1 stays, what follows is masked.
OPTIONS = (
    re.compile(rf"((?<![\w-])(?:-[uU]|--(?:proxy-)?user)[\s=]{{0,2}}+[\"']?{_NOT_DIGITS}[\w.@\\][\w.@+\\-]{{0,99}}+[:%]){_WORD}"),
    re.compile(rf"((?<![\w-])-p=){_NOT_DIGITS}{_WORD}"),
    *(re.compile(rf"(\b(?:{commands})\s[^\n|;&]{{0,300}}?(?<=\s)-{option}[ =]?){_WORD}") for commands, option in _PASSWORD_OPTIONS),
)  # fmt: skip
#: The same of secrets that are known by their looks: user information of a URL, credentials of a header, a
#: JSON Web Token, a private key, keys of well-known services, passwords in SQL and .netrc.
_LOOKS = (
    *OPTIONS,
    re.compile(r"(://)[^\s/?#@:\"']++(?=:(?:x|x-oauth-basic)?@)"),
    re.compile(r"(//[^\s/?#@:\"']{0,200}+:)[^\s/?#\"']+(?=@)"),
    re.compile(r"(//[^\s/?#@:\"']{0,200}+:)(?!\d{1,5}+[/?#])[^\s@\"'<>]{1,500}+(?=@)"),  # with a slash in it
    re.compile(r"(://)(?!git@)[^\s/?#@:\"']++(?=@)"),
    re.compile(r"(\b(?:Bearer\s{1,3}+|Basic\s{1,3}+(?!(?-i:[a-z]{1,30})\b)))[\w.~+/=-]{6,}+", re.IGNORECASE),
    re.compile(r"()\beyJ[\w-]{8,}+\.[\w-]{4,}+(?:\.[\w-]*+)?"),
    re.compile(r"()-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]*+(?:-----END [A-Z ]{0,40}-----)?"),
    re.compile(r"()\b(?:gh[opsru]_|github_pat_|glpat-|xox[abeprs]-|sk_live_|sk_test_|sk-(?:proj-|ant-)?|AKIA|ASIA|AIza)(?=[\w-]{0,40}\d)[\w-]{16,}+"),
    re.compile(r"(\b(?:identified by|password)\s{1,3}+)(?:'[^'\n]++'?|\"[^\"\n]++\"?)", re.IGNORECASE),
    re.compile(r"(\blogin\s{1,3}+\S{1,200}+\s{1,20}+password\s{1,3}+)\S++"),
)  # fmt: skip

# ----------------------------------------------------------------- by their names

#: A name of at most two words, and what stands between it and its value.
_NAME_PART = rf"[\w%{_UNSEEN}][\w.%\[\]{_UNSEEN}-]{{0,99}}+"
_PAIR = re.compile(
    rf"(?<![\w%])(?P<name>{_NAME_PART}(?: {_NAME_PART})?)(?P<close>\\*+[\"']?)\s{{0,40}}+"
    r"(?P<sign>[=-]>|[:=\uff1a\uff1d]{1,3}+)\s{0,40}+"
)
_OPTION = re.compile(
    r"(?<![\w-])--?(?P<name>[A-Za-z][\w.-]{0,99}+)(?:[\"'],[ \t]{0,3}+|(?>(?:[ \t]|\\?\r?\n){1,20}))(?!--[A-Za-z]|-[A-Za-z]\b)"
)
_FORM_PART = re.compile(
    r"form-data;[^\n]{0,200}?\bname=\"?(?P<name>[^\"\s;]{1,100}+)[^\n]{0,200}+\n(?:[\w-]{1,50}+:[^\n]{0,200}+\n){0,3}\r?\n"
)
_TAG = r"[A-Za-z_][\w:.-]{0,99}+"
_ATTRIBUTES = r"(?P<attributes>(?>(?:\s[^<>]*+)?))"
_ELEMENT = re.compile(rf"<(?P<tag>{_TAG}){_ATTRIBUTES}>")
#: <key>password</key><string>…
_NEXT_ELEMENT = re.compile(
    rf"<({'|'.join(NAMING)})>(?P<name>[^<>]{{1,100}}+)</\1>\s{{0,100}}+<(?P<tag>{_TAG})[^<>]*+>",
    re.IGNORECASE,
)
#: <add key="password" value="…"/>
_ATTRIBUTE = re.compile(
    rf"<(?P<tag>{_TAG})(?={_ATTRIBUTES})[^<>]*?\s(?:{'|'.join(NAMED)})\s{{0,3}}+=\s{{0,3}}+(?=[\"'])",
    re.IGNORECASE,
)
_NAMING_ATTRIBUTE = re.compile(
    rf"\s(?:{'|'.join(NAMING)})\s?=\s?[\"']([^\"'<>]{{1,200}}+)", re.IGNORECASE
)

#: Values, as far as they go. A quote, comma, … ends a bare value, unless it stands within a word.
_QUOTED = re.compile(
    r"\"\"\"(?>(?:(?!\"\"\")[\s\S])*)|'''(?>(?:(?!''')[\s\S])*)"
    r"|\"(?>(?:[^\"\\]|\\[\s\S])*)|'(?>(?:[^'\\]|\\[\s\S])*)"
    r"|\\++(?:\"[^\"]*+|'[^']*+)"
)
_LINE = re.compile(r"[^\n]*+")
_REST_OF_LINE = re.compile(r"(?>(?:[^\n\"'}]|[\"'}](?=\w))*)")
_NEXT_PAIR = r"[\w.%-]{1,50}+(?: [\w.%-]{1,50}+)?\s?[=:]"
_BARE = re.compile(rf"(?>(?:[^\s&;,\"'}}]|[\"'}}](?=\w)|[&;,](?!\s|$|{_NEXT_PAIR}))*)")
_OPTION_VALUE = re.compile(r"(?>(?:[^\s\"']|[\"'](?=\w))*)")
_TO_QUOTE = {"'": re.compile(r"[^'\n]*+"), '"': re.compile(r"[^\"\n]*+")}
_BRACKETS = re.compile(
    r"\"(?>(?:[^\"\\]|\\[\s\S])*)(?:\"|$)|'(?>(?:[^'\\]|\\[\s\S])*)(?:'|$)|[\[\]{}]"
)
#: What stands before a name at the start of its line, and a further line of a block.
_LINE_START = re.compile(r"[ \t]*+(?>(?:[-?][ \t]++)*)[\"']?")
_BLOCK_LINE = re.compile(r"\n([ \t]*+)([^\n]*+)")


def has_hints(text: str) -> bool:
    """Whether a text may hold a secret at all."""
    lowered = text.lower()
    if not text.isascii():
        lowered = _UNSEEN_CHARACTER.sub("", unicodedata.normalize("NFKC", text)).lower()
    return lowered.startswith("-") or any(hint in lowered for hint in _HINTS)


def without_secrets(text: str) -> str:
    """The text with what is named, or looks, like a secret replaced in place."""
    for pattern, end_of in _KINDS:
        text = _without(text, pattern, end_of)
    for looks in _LOOKS:
        text = looks.sub(rf"\1{MASK}", text)
    return text


def decoded(text: str) -> str:
    """The text with one layer of percent-encoding, character references and JSON escapes undone."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), html.unescape(unquote(text)))


def _without(
    text: str, pattern: re.Pattern[str], end_of: Callable[[str, re.Match[str]], int]
) -> str:
    parts, done, at = [], 0, 0
    while found := pattern.search(text, at):
        at = found.end()
        end = end_of(text, found)
        if end > at:
            parts += [text[done:at], MASK]
            done = at = end
    return "".join([*parts, text[done:]])


# Where the value ends that a match names: 0 if that is no secret.


def _pair_end(text: str, found: re.Match[str]) -> int:
    if not is_secret_name(unquote(found["name"])):
        return 0
    column = _column(text, found.start("name")) if "=" not in found["sign"] else None
    return max(_value_end(text, found, column), _block_end(text, found, column))


def _value_end(text: str, found: re.Match[str], column: int | None) -> int:
    at, before = found.end(), text[found.start("name") - 1 : found.start("name")]
    if text[at : at + 1] in ("[", "{"):
        return _balanced_end(text, at)
    if quoted := _QUOTED.match(text, at):
        return quoted.end()
    if "=" in found["sign"]:
        value = _BARE
    elif before in _TO_QUOTE and not found["close"]:
        value = _TO_QUOTE[before]  # 'Authorization: …'
    else:
        value = _REST_OF_LINE if column is None else _LINE
    return _end(value, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else 0


def _balanced_end(text: str, at: int) -> int:
    """Where the object or list ends that begins at ``at``; the end of the text if it is cut off."""
    depth = 0
    for found in _BRACKETS.finditer(text, at):
        if found[0] in "[{":
            depth += 1
        elif found[0] in "]}":
            depth -= 1
            if depth == 0:
                return found.end()
    return len(text)


def _column(text: str, at: int) -> int | None:
    """The column of a name that starts its line, as in YAML and headers; None of any other."""
    start = text.rfind("\n", max(0, at - 100), at) + 1
    if start == 0 and at > 100:
        return None
    before = text[start:at]
    return len(before.rstrip("\"'")) if _LINE_START.fullmatch(before) else None


def _block_end(text: str, found: re.Match[str], column: int | None) -> int:
    """Where the further lines of a value end: deeper than its name, or the items of a list below it."""
    at = text.find("\n", found.end("sign"))
    if column is None or at < 0:
        return 0
    end = 0
    while line := _BLOCK_LINE.match(text, at):
        indent, content = len(line[1]), line[2].strip()
        is_item = indent == column and content.startswith("- ")
        if content and indent <= column and not is_item:
            break
        at = line.end()
        end = at if content else end
    return end


def _option_end(text: str, found: re.Match[str]) -> int:
    if not is_secret_name(found["name"]):
        return 0
    return _end(_QUOTED, text, found.end()) or _end(_OPTION_VALUE, text, found.end())


def _form_part_end(text: str, found: re.Match[str]) -> int:
    if not is_secret_name(found["name"]):
        return 0
    end = text.find("\n--", found.end())
    return end if end >= 0 else len(text)


def _element_end(text: str, found: re.Match[str]) -> int:
    if found["attributes"].endswith("/") or not _is_secret_element(found):
        return 0
    return _closing(text, found)


def _next_element_end(text: str, found: re.Match[str]) -> int:
    return _closing(text, found) if is_secret_name(found["name"]) else 0


def _attribute_end(text: str, found: re.Match[str]) -> int:
    return _end(_QUOTED, text, found.end()) if _is_secret_element(found) else 0


def _is_secret_element(found: re.Match[str]) -> bool:
    names = [found["tag"].rpartition(":")[2], *_NAMING_ATTRIBUTE.findall(found["attributes"])]
    return any(map(is_secret_name, names))


def _closing(text: str, found: re.Match[str]) -> int:
    """Where the element's content ends; without an end tag, as of <input>, before the next tag."""
    for end_tag in (f"</{found['tag']}", "<"):
        end = text.find(end_tag, found.end())
        if end >= 0:
            return end
    return len(text)


#: What names a value, and the function that finds the end of that value.
_KINDS = (
    (_FORM_PART, _form_part_end),
    (_NEXT_ELEMENT, _next_element_end),
    (_ATTRIBUTE, _attribute_end),
    (_ELEMENT, _element_end),
    (_OPTION, _option_end),
    (_PAIR, _pair_end),
)
