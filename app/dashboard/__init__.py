"""The dashboard: HTML pages at /, with fragments of them for htmx.

``views`` handles requests (one file per page); ``present`` turns data into text and charts.
"""

from __future__ import annotations

from app.dashboard import assets, errors
from app.dashboard.blueprint import dashboard
from app.dashboard.present import charts, failure_words, format, limit_facts, rows, schedule_words
from app.dashboard.views import (
    audit,
    bulk,
    dead_letters,
    failures,
    job,
    job_copy,
    job_types,
    jobs,
    limit_form,
    limits,
    overview,
    queues,
    schedule,
    schedule_form,
    schedules,
    selected,
    sign_in,
    workers,
)
from app.security.roles import PUBLIC, requires

__all__ = ["dashboard"]

#: Importing a module registers its routes.
PAGES = (
    overview, jobs, job, job_copy, selected, bulk, dead_letters, failures, queues, job_types, schedules, schedule, schedule_form, limits, limit_form, workers,
    audit, sign_in, errors,
)  # fmt: skip

dashboard.record_once(assets.register)
dashboard.add_url_rule("/assets/<name>", "bundle", requires(PUBLIC)(assets.bundle))
for _name, _filter in [
    *format.FILTERS.items(),
    *rows.FILTERS.items(),
    *charts.FILTERS.items(),
    *failure_words.FILTERS.items(),
    *schedule_words.FILTERS.items(),
    *limit_facts.FILTERS.items(),
]:
    dashboard.add_app_template_filter(_filter, _name)
