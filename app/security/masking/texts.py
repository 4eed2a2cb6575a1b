"""Masks secrets in text: values with a name (pairs, headers, YAML, XML, command options), and what looks like a secret.

Patterns are bounded or possessive, and a masked value is not scanned again, so that the time is linear in the
length of the text. Callers limit that length.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

from app.security.masking.names import is_secret_name

MASK = "••••••"

#: Keys and attributes that contain a name, and the keys and attributes beside them that contain its value.
NAMING = frozenset(
    ["name", "key", "header", "field", "k", "label", "param", "parameter", "variable", "option"]
)
NAMED = frozenset(["value", "values", "val", "v", "content", "data", "text", "default", "body"])

#: A text without any of these contains nothing to mask. Searched one after another: much faster than a pattern.
_HINTS = (
    "pass", "pw", "pswd", "secret", "credential", "bearer", "basic", "auth", "cookie", "signature", "sig", "mnemonic", "seed",
    "kennwort", "token", "code", "key", "sess", "sid", "connection", "conn", "card", "csrf", "xsrf", "pin", "otp", "mfa", "jwt",
    "dsn", "cvv", "cvc", "ssn", "psk", "tan", "eyj", "//", "%", "&#", "\\u", "-----begin", " -u", " -p", " -a", " -w", "--user",
    "identified", "gh", "glpat", "xox", "sk", "akia", "asia", "aiza",
)  # fmt: skip
#: Invisible characters: pass<zero width space>word looks like password.
_INVISIBLE = "\u00ad\u200b-\u200f\u2060\ufeff"
_INVISIBLE_CHARACTER = re.compile(f"[{_INVISIBLE}]")
_ESCAPE = re.compile(r"\\u((?![dD][89a-fA-F])[0-9a-fA-F]{4})")

# ------------------------------------------------------------------ by what they look like

# Groups are atomic, (?>(…)*), not possessive, (…)*+, which Python before 3.11.5 matches incorrectly.
_WORD = r"(?:\"[^\"]*+\"?|'[^']*+'?|[^\s\"']++)"
_NOT_DIGITS = r"(?!\d{1,20}+(?>(?::\d{1,20}+)?)(?:[\s\"']|$))"
#: Commands, and the option with their password.
_PASSWORD_OPTIONS = (
    (r"sshpass|mysql\w{0,9}|mariadb[\w-]{0,9}|mongo\w{0,9}|(?:docker|podman) login", "p"),
    (r"sqlcmd|mosquitto_\w{3}", "P"),
    (r"redis-cli", "a"),
    (r"ldap\w{3,9}", "w"),
)
#: Options whose values are secrets, although their names don't say so: group 1 is kept, the rest is masked.
OPTIONS = (
    re.compile(rf"((?<![\w-])(?:-[uU]|--(?:proxy-)?user)[\s=]{{0,2}}+[\"']?{_NOT_DIGITS}[\w.@\\][\w.@+\\-]{{0,99}}+[:%]){_WORD}"),
    re.compile(rf"((?<![\w-])-p=){_NOT_DIGITS}{_WORD}"),
    *(re.compile(rf"(\b(?:{commands})\s[^\n|;&]{{0,300}}?(?<=\s)-{option}[ =]?){_WORD}") for commands, option in _PASSWORD_OPTIONS),
)  # fmt: skip
#: The same for secrets that can be recognized without a name: user information in a URL, credentials in a header,
#: JSON Web Tokens, private keys, keys of well-known services, passwords in SQL and .netrc.
_RECOGNIZABLE = (
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

#: A name of at most two words, and what separates it from its value.
_NAME_PART = rf"[\w%{_INVISIBLE}][\w.%\[\]{_INVISIBLE}-]{{0,99}}+"
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

#: Values up to their ends. A quote, comma, … ends a bare value, unless it is inside a word.
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
#: What may precede a name at the start of its line, and another line of a block.
_LINE_START = re.compile(r"[ \t]*+(?>(?:[-?][ \t]++)*)[\"']?")
_BLOCK_LINE = re.compile(r"\n([ \t]*+)([^\n]*+)")


def has_hints(text: str) -> bool:
    """Whether a text may contain a secret; a quick check."""
    lowered = text.lower()
    if not text.isascii():
        lowered = _INVISIBLE_CHARACTER.sub("", unicodedata.normalize("NFKC", text)).lower()
    return lowered.startswith("-") or any(hint in lowered for hint in _HINTS)


def without_secrets(text: str) -> str:
    """The text with MASK in place of every secret, whether recognized by its name or by what it looks like."""
    for pattern, end_of in _NAMED_VALUES:
        text = _without(text, pattern, end_of)
    for pattern in _RECOGNIZABLE:
        text = pattern.sub(rf"\1{MASK}", text)
    return text


def decoded(text: str) -> str:
    """The text with one layer of percent-encoding, character references and JSON escapes decoded."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), html.unescape(unquote(text)))


def _without(
    text: str, pattern: re.Pattern[str], end_of: Callable[[str, re.Match[str]], int]
) -> str:
    parts, copied_to, at = [], 0, 0
    while match := pattern.search(text, at):
        at = match.end()
        end = end_of(text, match)
        if end > at:
            parts += [text[copied_to:at], MASK]
            copied_to = at = end
    return "".join([*parts, text[copied_to:]])


# Each returns where the value of the matched name ends, or 0 if the value is not a secret.


def _pair_end(text: str, match: re.Match[str]) -> int:
    if not is_secret_name(unquote(match["name"])):
        return 0
    column = _column(text, match.start("name")) if "=" not in match["sign"] else None
    return max(_value_end(text, match, column), _block_end(text, match, column))


def _value_end(text: str, match: re.Match[str], column: int | None) -> int:
    at, before = match.end(), text[match.start("name") - 1 : match.start("name")]
    if text[at : at + 1] in ("[", "{"):
        return _balanced_end(text, at)
    if quoted := _QUOTED.match(text, at):
        return quoted.end()
    if "=" in match["sign"]:
        value = _BARE
    elif before in _TO_QUOTE and not match["close"]:
        value = _TO_QUOTE[before]  # 'Authorization: …'
    else:
        value = _REST_OF_LINE if column is None else _LINE
    return _end(value, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else 0


def _balanced_end(text: str, at: int) -> int:
    """The end of the object or list that starts at ``at``; the end of the text if it is cut off."""
    depth = 0
    for match in _BRACKETS.finditer(text, at):
        if match[0] in "[{":
            depth += 1
        elif match[0] in "]}":
            depth -= 1
            if depth == 0:
                return match.end()
    return len(text)


def _column(text: str, at: int) -> int | None:
    """The column of a name that starts its line, as in YAML and headers; None for any other name."""
    start = text.rfind("\n", max(0, at - 100), at) + 1
    if start == 0 and at > 100:
        return None
    before = text[start:at]
    return len(before.rstrip("\"'")) if _LINE_START.fullmatch(before) else None


def _block_end(text: str, match: re.Match[str], column: int | None) -> int:
    """The end of a value's other lines: those indented deeper than its name, or the items of a list below it."""
    at = text.find("\n", match.end("sign"))
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


def _option_end(text: str, match: re.Match[str]) -> int:
    if not is_secret_name(match["name"]):
        return 0
    return _end(_QUOTED, text, match.end()) or _end(_OPTION_VALUE, text, match.end())


def _form_part_end(text: str, match: re.Match[str]) -> int:
    if not is_secret_name(match["name"]):
        return 0
    end = text.find("\n--", match.end())
    return end if end >= 0 else len(text)


def _element_end(text: str, match: re.Match[str]) -> int:
    if match["attributes"].endswith("/") or not _is_secret_element(match):
        return 0
    return _closing(text, match)


def _next_element_end(text: str, match: re.Match[str]) -> int:
    return _closing(text, match) if is_secret_name(match["name"]) else 0


def _attribute_end(text: str, match: re.Match[str]) -> int:
    return _end(_QUOTED, text, match.end()) if _is_secret_element(match) else 0


def _is_secret_element(match: re.Match[str]) -> bool:
    names = [match["tag"].rpartition(":")[2], *_NAMING_ATTRIBUTE.findall(match["attributes"])]
    return any(map(is_secret_name, names))


def _closing(text: str, match: re.Match[str]) -> int:
    """The end of the element's content; without an end tag, as for <input>, the start of the next tag."""
    for end_tag in (f"</{match['tag']}", "<"):
        end = text.find(end_tag, match.end())
        if end >= 0:
            return end
    return len(text)


#: A pattern for the name of a value, and the function that finds the end of that value.
_NAMED_VALUES = (
    (_FORM_PART, _form_part_end),
    (_NEXT_ELEMENT, _next_element_end),
    (_ATTRIBUTE, _attribute_end),
    (_ELEMENT, _element_end),
    (_OPTION, _option_end),
    (_PAIR, _pair_end),
)
