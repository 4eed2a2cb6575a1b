"""Which worker leads a deployment: a lease in Redis that the leader renews.

The leader does the duties that a deployment needs once, however many workers it has. Like everything in Redis it is
a hint: two leaders, or none for a moment, change how often a duty runs, never what it does.
"""

from __future__ import annotations

from app.broker.ready_set import ReadySet

# What is not a lease (another type, or a value that never ends) is written over.
# KEYS: the lease. ARGV: the worker, milliseconds.
_HOLD = """
local holder = redis.pcall('GET', KEYS[1])
if holder ~= ARGV[1] and type(holder) == 'string' and redis.call('PTTL', KEYS[1]) > 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
# KEYS: the lease. ARGV: the worker.
_GIVE_UP = """
if redis.pcall('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Leadership:
    """The lease of one deployment, as one worker sees it. Methods raise RedisError."""

    def __init__(self, ready: ReadySet, deployment: str, worker: str) -> None:
        """``deployment``: as app.jobs.deployment.identity; ``worker``: different in each process."""
        self._key = ready.keys.leader(deployment)
        self._worker = worker
        self._hold = ready.client.register_script(_HOLD)
        self._give_up = ready.client.register_script(_GIVE_UP)

    def hold(self, seconds: float) -> bool:
        """Take the lease, or renew it, for ``seconds``; False while another worker holds it."""
        return bool(self._hold(keys=[self._key], args=[self._worker, round(seconds * 1000)]))

    def give_up(self) -> None:
        """Leave the lease to the next worker that asks for it."""
        self._give_up(keys=[self._key], args=[self._worker])
