"""The dashboard: HTML at /, one blueprint, thin views, fragments for htmx."""

from __future__ import annotations

from flask import Blueprint

from app.dashboard import assets
from app.dashboard.present import charts, format, rows

blueprint = Blueprint("dashboard", __name__)
blueprint.record_once(assets.register)
blueprint.add_url_rule("/assets/<name>", "bundle", assets.bundle)

for _name, _filter in [*format.FILTERS.items(), *rows.FILTERS.items(), *charts.FILTERS.items()]:
    blueprint.add_app_template_filter(_filter, _name)

# The routes register themselves on the blueprint.
from app.dashboard import errors  # noqa: E402, F401
from app.dashboard.views import actions, bulk, failures, new_job, pages, sign_in  # noqa: E402, F401
