"""Seeds that once failed, and what they found. They run at every test run; facts per schedule as given."""

from __future__ import annotations

#: (seed, facts): what it was.
FOUND: dict[tuple[int, int], str] = {
    (38, 100): "without transactions a decision could stand while its rejected record was never written",
    (
        259,
        100,
    ): "without transactions a batch of decisions could stand although the one before it had failed: a fact skipped",
    (15, 100): "a partition that was taken over with nothing left to do never told the group: its lag stayed for ever",
    (66, 100): "a version decided upon by another worker killed whoever took the partition over",
}
