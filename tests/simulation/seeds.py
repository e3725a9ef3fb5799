"""Seeds that once failed, and what they found. They run at every test run; facts per schedule as given."""

from __future__ import annotations

#: (seed, facts, do members deal with each other): what it was.
FOUND: dict[tuple[int, int, bool], str] = {
    (38, 100, False): "without transactions a decision could stand while its rejected record was never written",
    (
        259,
        100,
        False,
    ): "without transactions a batch of decisions could stand although the one before it had failed: a fact skipped",
    (
        15,
        100,
        False,
    ): "a partition that was taken over with nothing left to do never told the group: its lag stayed for ever",
    (
        56,
        100,
        True,
    ): "staff closed a circle of cards: the answer to a transfer came before the takeover of what was reserved for it",
    (1142, 100, True): "the same, and the answer of a reward's stock",
    (66, 100, False): "a version decided upon by another worker killed whoever took the partition over",
}
