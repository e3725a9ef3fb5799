"""How many examples the properties try: `ci` by default, `deep` for `make test-full` (STAMMGAST_PROPERTIES=deep).

`ci` tries the same examples every time, so that a red build is a change and not luck; `deep` explores, with random seeds.
On a failure Hypothesis prints the example and a blob that runs it again.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
settings.register_profile(
    "ci", max_examples=40, deadline=None, derandomize=True, print_blob=True, suppress_health_check=_SLOW
)
settings.register_profile("deep", max_examples=1500, deadline=None, print_blob=True, suppress_health_check=_SLOW)
PROFILE = os.environ.get("STAMMGAST_PROPERTIES", "ci")


def examples(share: float = 1.0) -> settings:
    """Return the settings of the chosen profile with so large a share of its examples."""
    profile = settings.get_profile(PROFILE)
    return settings(profile, max_examples=max(5, round(profile.max_examples * share)))
