"""Flask extensions: created here, bound in ``create_app()``."""

from flask import Request, current_app
from flask.globals import request_ctx
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


def current_request() -> Request:
    """The request itself. Flask's ``request`` looks it up at each use, and a POST used it thirty times."""
    return request_ctx.request
