"""JSON as foldable HTML: shortened if large, secrets masked, everything escaped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from app.security.masking import MASK, masked

MAX_NODES = 400  # values shown of one document
MAX_STRING = 2_000  # characters shown of one string
FOLD_ABOVE = 12  # entries; larger ones below the top start folded
MAX_DEPTH = 30
COPY_BYTES = 20_000  # larger documents are fetched whole from the API instead


@dataclass(frozen=True)
class Document:
    """A JSON value as the job page shows it."""

    name: str
    title: str
    html: Markup
    size: int
    is_cut: bool
    text: str | None
    url: str


def document(name: str, title: str, value: Any, url: str) -> Document:
    shown = masked(value)
    text = json.dumps(shown, ensure_ascii=False, indent=2)
    writer = _Writer(name)
    html = writer.value(shown, "0", depth=0)
    size = len(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    )
    return Document(
        name, title, html, size, writer.is_cut, text if len(text) <= COPY_BYTES else None, url
    )


class _Writer:
    """Writes a value as HTML and stops after MAX_NODES values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.left = MAX_NODES
        self.is_cut = False

    def value(self, value: Any, path: str, *, depth: int) -> Markup:
        if isinstance(value, dict) and value:
            return self._container(value.items(), "{", "}", path, depth, len(value))
        if isinstance(value, list) and value:
            return self._container(
                ((None, inner) for inner in value), "[", "]", path, depth, len(value)
            )
        return self._leaf(value)

    def _container(
        self, entries: Any, opener: str, closer: str, path: str, depth: int, n: int
    ) -> Markup:
        if depth >= MAX_DEPTH or self.left <= 0:
            self.is_cut = True
            return Markup('<span class="json-more">{}…{} {}</span>').format(
                opener, closer, _entries(n)
            )
        is_open = " open" if depth == 0 or n <= FOLD_ABOVE else ""
        rows = Markup("").join(self._rows(entries, path, depth, n))
        return Markup(
            '<details class="json-node" id="{}-{}"{}><summary><span class="json-open">{}</span>'
            '<span class="json-count">{}{}</span></summary><div class="json-rows">{}</div></details>'
            '<span class="json-close">{}</span>'
        ).format(self.name, path, Markup(is_open), opener, _entries(n), closer, rows, closer)

    def _rows(self, entries: Any, path: str, depth: int, n: int) -> Iterator[Markup]:
        for index, (key, inner) in enumerate(entries):
            if self.left <= 0:
                self.is_cut = True
                yield Markup('<div class="json-more">… {} more</div>').format(f"{n - index:,}")
                return
            self.left -= 1
            name = (
                Markup("")
                if key is None
                else Markup('<span class="json-key">{}</span>: ').format(_quoted(key))
            )
            shown = self.value(inner, f"{path}-{index}", depth=depth + 1)
            comma = "," if index < n - 1 else ""
            yield Markup('<div class="json-row">{}{}{}</div>').format(name, shown, comma)

    def _leaf(self, value: Any) -> Markup:
        if value == MASK:
            return self._masked()
        if isinstance(value, str):
            if len(value) <= MAX_STRING:
                return Markup('<span class="json-string">{}</span>').format(_quoted(value))
            self.is_cut = True
            return Markup(
                '<span class="json-string">{}</span><span class="json-more"> … {} more characters</span>'
            ).format(_quoted(value[:MAX_STRING]), f"{len(value) - MAX_STRING:,}")
        kind = (
            "word"
            if value is None or isinstance(value, bool)
            else "number"
            if not isinstance(value, dict | list)
            else "open"
        )
        return Markup('<span class="json-{}">{}</span>').format(kind, json.dumps(value))

    def _masked(self) -> Markup:
        return Markup(
            '<span class="json-masked" title="Masked because it looks like a secret">{}</span>'
        ).format(MASK)


def _quoted(text: str) -> Markup:
    # Isolated: a right-to-left mark in a string must not reorder the rest of the line.
    return Markup("<bdi>{}</bdi>").format(escape(json.dumps(text, ensure_ascii=False)))


def _entries(n: int) -> str:
    return "1 entry" if n == 1 else f"{n:,} entries"
