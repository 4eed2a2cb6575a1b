"""What a job type or a queue can be called."""

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
NAME_RULE = "must be 1 to 100 letters, digits, '.', '_', ':' or '-', the first a letter or digit."
