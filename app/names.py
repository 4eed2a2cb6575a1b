"""Valid names of job types and queues."""

from app.broker.keys import MAX_NAME as MAX_NAME
from app.broker.keys import NAME as NAME

NAME_RULE = (
    f"must be 1 to {MAX_NAME} letters, digits, '.', '_', ':' or '-', the first a letter or digit."
)
