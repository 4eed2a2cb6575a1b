"""Long-lived processes exempt what they start with from garbage collection."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from app import garbage

class Node:
    pass

def cycle():
    node = Node()
    node.itself = node

start = [[] for _ in range(1000)]
garbage.exempt_start()
assert gc.get_freeze_count() > 1000
assert not any(each is start for each in gc.get_objects())
cycle()
assert gc.collect() >= 1  # what is created later is still collected
"""


def test_what_a_process_starts_with_is_exempt_and_new_objects_are_not():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
