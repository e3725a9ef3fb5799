"""The ways in which a ratio becomes an integer, by their names in a programme file."""

from __future__ import annotations

from enum import StrEnum


class Rounding(StrEnum):
    """How a ratio becomes an integer; negative ratios mirror positive ones."""

    FLOOR = "floor"
    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    CEIL = "ceil"
