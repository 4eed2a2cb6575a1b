"""Flask extensions: created here, bound in ``create_app()``."""

from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """The declarative base of every table."""


db: SQLAlchemy = SQLAlchemy(model_class=Base)
migrate = Migrate()
csrf = CSRFProtect()
