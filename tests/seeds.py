"""The seed of a test that throws dice: the same one in the short run, a new one in `make test-full`, always printed."""

from __future__ import annotations

import os
import random

SHORT_RUN = 20_101_201


def chosen_seed() -> int:
    """STAMMGAST_TEST_SEED where it is set; a red short run is then a change and not luck. Printed for a failure's report."""
    full = os.environ.get("STAMMGAST_TEST_FULL") == "1"
    seed = int(os.environ.get("STAMMGAST_TEST_SEED") or (random.randrange(2**32) if full else SHORT_RUN))
    print(f"STAMMGAST_TEST_SEED={seed}")
    return seed
