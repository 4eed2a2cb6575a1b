"""What reading functions take as ``db``."""

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session, scoped_session

#: Gives ORM objects.
Reader = Session | scoped_session[Any]
#: Gives rows.
Database = Reader | Connection
