"""Static files: addresses that change with the content, so that browsers may cache them for a year.

All stylesheets are one response, and all scripts another: separate files delayed the first paint by 50 to 120 ms.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Response, abort, current_app, request, url_for
from flask.sansio.blueprints import BlueprintSetupState

#: In this order: tokens first, components after what they build on.
STYLESHEETS = (
    "tokens.css", "base.css", "layout.css", "controls.css", "status.css", "tabs.css", "filters.css",
    "table.css", "panel.css", "counts.css", "facts.css", "json.css", "timeline.css", "log.css",
    "workers.css", "flash.css", "empty.css", "dialog.css", "sign-in.css", "chart.css", "bulk.css", "palette.css",
    "selection.css", "schedules.css", "limits.css", "failures.css", "forms.css", "print.css",
)  # fmt: skip
SCRIPTS = (
    "preserve-open.js", "refresh-controls.js", "refresh-guard.js", "live-regions.js", "restore-focus.js",
    "local-times.js", "chart.js", "scroll-to-current.js", "theme.js", "copy.js", "confirm.js", "selection.js",
    "menus.js", "continue-search.js", "command-palette.js", "shortcuts.js", "row-links.js", "flash.js", "request-errors.js",
)  # fmt: skip
A_YEAR = 365 * 24 * 3600


BUNDLES = {
    "dashboard.css": ("css", STYLESHEETS, "text/css"),
    "dashboard.js": ("js", SCRIPTS, "text/javascript"),
}


def bundle(name: str) -> Response:
    """All stylesheets, or all scripts, in order."""
    if name not in BUNDLES:
        abort(404)
    if current_app.debug:
        _joined.cache_clear()
    response = Response(_joined(_folder(), name), content_type=f"{BUNDLES[name][2]}; charset=utf-8")
    response.add_etag()
    response.cache_control.no_cache = True
    response.make_conditional(request)
    return response


def _folder() -> Path:
    return Path(current_app.static_folder or "static")


# Cached, so that an address keeps its content while files are replaced under a running process.
@cache
def _joined(folder: Path, name: str) -> bytes:
    kind, parts, _ = BUNDLES[name]
    return b"\n".join((folder / kind / part).read_bytes() for part in parts)


def register(state: BlueprintSetupState) -> None:
    """Gives templates asset(name) and bundle(name), and lets browsers cache versioned files."""
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

    @cache
    def bundle_fingerprint(name: str) -> str:
        return hashlib.sha256(_joined(folder, name)).hexdigest()[:10]

    def bundle_address(name: str) -> str:
        if app.debug:
            _joined.cache_clear()
            bundle_fingerprint.cache_clear()
        return url_for("dashboard.bundle", name=name, v=bundle_fingerprint(name))

    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(asset=asset, bundle=bundle_address)
    app.after_request(keep_static_files)


def keep_static_files(response: Response) -> Response:
    if (
        request.endpoint in ("static", "dashboard.bundle")
        and "v" in request.args
        and response.status_code in (200, 304)
    ):
        response.cache_control.public = True
        response.cache_control.max_age = A_YEAR
        response.cache_control.immutable = True
        response.cache_control.no_cache = None
    return response
