"""Percentiles from logarithmic buckets. Pure.

Bucket b counts durations of 2^(b/4) to 2^((b+1)/4) µs (``jobs_bucket`` in the migration), so that a
percentile is wrong by less than a fifth, whatever its size.
"""

from __future__ import annotations

from collections.abc import Mapping

PER_OCTAVE = 4


def percentile_ms(buckets: Mapping[int, int], share: float) -> float | None:
    """The duration in ms that ``share`` (0…1) of the counted ones don't exceed; None without any.

    Within a bucket, durations are assumed to be spread evenly on the logarithmic scale.
    """
    total = sum(buckets.values())
    if total <= 0:
        return None
    rank, below = share * total, 0
    for bucket in sorted(buckets):
        inside = buckets[bucket]
        if inside > 0 and below + inside >= rank:
            return _microseconds(bucket + max(rank - below, 0) / inside) / 1000
        below += inside
    return _microseconds(max(buckets) + 1) / 1000


def _microseconds(bucket: float) -> float:
    return float(2 ** (bucket / PER_OCTAVE))
