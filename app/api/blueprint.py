"""The blueprint of the JSON API. The resources register their routes on it; app.api wires it."""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("api", __name__, cli_group=None)
