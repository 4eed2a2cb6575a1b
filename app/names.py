"""What a job type or a queue can be called."""

import re

MAX_NAME = 100
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:-]{{0,{MAX_NAME - 1}}}")
NAME_RULE = (
    f"must be 1 to {MAX_NAME} letters, digits, '.', '_', ':' or '-', the first a letter or digit."
)
