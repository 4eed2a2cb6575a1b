"""Static files: addresses that change with the content, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Response, request, url_for
from flask.sansio.blueprints import BlueprintSetupState

#: In this order: tokens first, components after what they build on.
STYLESHEETS = (
    "tokens.css", "base.css", "shell.css", "controls.css", "status.css", "tabs.css", "filters.css",
    "table.css", "panel.css", "strip.css", "facts.css", "json.css", "timeline.css", "log.css",
    "workers.css", "flash.css", "empty.css", "dialog.css", "door.css", "chart.css", "bulk.css", "keys.css", "selected.css", "print.css",
)  # fmt: skip
SCRIPTS = (
    "keep.js", "refresh.js", "hold.js", "live.js", "focus.js", "times.js", "theme.js", "copy.js",
    "confirm.js", "select.js", "keys.js", "row.js", "flash.js",
)  # fmt: skip
A_YEAR = 365 * 24 * 3600


def register(state: BlueprintSetupState) -> None:
    """Templates of the application may say asset(name); kept files are told to browsers."""
    app = state.app
    folder = Path(app.static_folder or "static")

    @cache
    def fingerprint(name: str) -> str:
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()[:10]

    def asset(name: str) -> str:
        """The address of a file under static/, with its content's hash."""
        if app.debug:
            fingerprint.cache_clear()
        return url_for("static", filename=name, v=fingerprint(name))

    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(asset=asset, stylesheets=STYLESHEETS, scripts=SCRIPTS)
    app.after_request(keep_static_files)


def keep_static_files(response: Response) -> Response:
    if request.endpoint == "static" and "v" in request.args and response.status_code in (200, 304):
        response.cache_control.public = True
        response.cache_control.max_age = A_YEAR
        response.cache_control.immutable = True
        response.cache_control.no_cache = None
    return response
