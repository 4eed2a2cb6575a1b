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
class Effect:
    """Statements that another function calls for some of its rows; returns 0. ``sql`` as that of Function, each with its semicolon."""

    name: str
    parameters: str
    sql: str

    @property
    def definition(self) -> str:
        """The CREATE FUNCTION of the migration."""
        parameters = ", ".join(f"p_{each.strip()}" for each in self.parameters.split(","))
        sql = _PARAMETER.sub(r"p_\1", self.sql).strip()
        return (
            f"CREATE OR REPLACE FUNCTION {self.name}({parameters}) RETURNS int LANGUAGE plpgsql\n"
            f"SET plan_cache_mode = force_generic_plan SET enable_seqscan = off\n"
            f"AS ${self.name}$\nBEGIN\n{sql}\nRETURN 0;\nEND ${self.name}$;\n"
        )


@dataclass(frozen=True, slots=True)
class Function:
    """One such statement. ``sql`` names its parameters ``:name``, as a statement sent as text does."""

    name: str  # ends with its number
    parameters: str  # "ids uuid[], token uuid"
    columns: str  # what it returns, "id uuid, queue text"
    sql: str
    settings: str = ""  # more of SET, for the whole function
    before: str = ""  # statements before it, each with its semicolon
    #: (condition, statement): another statement that is run instead where the condition holds.
    instead: tuple[str, str] | None = None

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
        before = _PARAMETER.sub(r"p_\1", self.before)
        if self.instead is not None:
            condition, other = (_PARAMETER.sub(r"p_\1", part).strip() for part in self.instead)
            before += f"IF {condition} THEN\nRETURN QUERY\n{other};\nRETURN;\nEND IF;\n"
        # A name that is a column and one of the result's means the column.
        return f"\n#variable_conflict use_column\nBEGIN\n{before}RETURN QUERY\n{sql};\nEND "


def _names(declarations: str) -> list[str]:
    return [declaration.split()[0] for declaration in declarations.split(",")]
