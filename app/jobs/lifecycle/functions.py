"""Statements that PostgreSQL plans once per session: functions that a migration creates.

A statement sent as text is parsed and planned at each call, which costs more than claiming a job. The
SQL stays where its verb is; a migration holds a copy, and a test compares the two. To change one,
give it the next number in its name, and create it in a new migration that keeps the former function
for the processes of the previous release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.database import Statement

_PARAMETER = re.compile(r"(?<!:):(\w+)")


@dataclass(frozen=True, slots=True)
class Function:
    """One such statement. ``sql`` names its parameters ``:name``, as a statement sent as text does."""

    name: str  # ends with its number
    parameters: str  # "ids uuid[], token uuid"
    columns: str  # what it returns, "id uuid, queue text"
    sql: str
    settings: str = ""  # more of SET, for the whole function

    def call(self, columns: str = "") -> Statement:
        """The statement that calls it, with the same parameters; ``columns`` of the result are sent, by default all."""
        parameters = ", ".join(f":{name}" for name in _names(self.parameters))
        names = _names(columns or self.columns)
        return Statement(f"SELECT {', '.join(names)} FROM {self.name}({parameters})", names)

    @property
    def definition(self) -> str:
        """The CREATE FUNCTION of the migration."""
        parameters = ", ".join(f"p_{each.strip()}" for each in self.parameters.split(","))
        # force_generic_plan: PostgreSQL would plan again for each array. enable_seqscan: a plan made
        # while the table was empty would read all of it until the next ANALYZE.
        return (
            f"CREATE OR REPLACE FUNCTION {self.name}({parameters})\n"
            f"RETURNS TABLE ({self.columns}) LANGUAGE plpgsql\n"
            f"SET plan_cache_mode = force_generic_plan SET enable_seqscan = off{self.settings}\n"
            f"AS ${self.name}${self.body}${self.name}$;\n"
        )

    @property
    def body(self) -> str:
        """What PostgreSQL stores as its source."""
        sql = _PARAMETER.sub(r"p_\1", self.sql).strip()
        # A name that is a column and one of the result's means the column.
        return f"\n#variable_conflict use_column\nBEGIN\nRETURN QUERY\n{sql};\nEND "


def _names(declarations: str) -> list[str]:
    return [declaration.split()[0] for declaration in declarations.split(",")]
