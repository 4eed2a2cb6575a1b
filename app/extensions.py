"""Flask extensions: created here, bound in ``create_app()``."""

from flask import current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.orm import DeclarativeBase

from app.config import Settings


class Base(DeclarativeBase):
    """The declarative base of all models."""


db: SQLAlchemy = SQLAlchemy(model_class=Base)
migrate = Migrate()
csrf = CSRFProtect()


def current_settings() -> Settings:
    """The settings of the running application."""
    settings: Settings = current_app.extensions["settings"]
    return settings
