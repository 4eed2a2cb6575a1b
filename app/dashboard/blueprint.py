"""The blueprint that every page of the dashboard registers its routes on."""

from __future__ import annotations

from flask import Blueprint

dashboard = Blueprint("dashboard", __name__)
