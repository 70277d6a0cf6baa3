"""How many examples a property test draws."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings


def examples(count: int = 25) -> settings:
    """Settings for `count` examples, times the environment's QUANTLIB_EXAMPLES."""
    scaled = max(1, round(count * float(os.environ.get("QUANTLIB_EXAMPLES", "1"))))
    return settings(max_examples=scaled, deadline=None, suppress_health_check=[HealthCheck.too_slow])
