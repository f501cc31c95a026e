"""Settings of the whole suite."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Machines that share their cores stall at random; a deadline an example would only say so. The examples are the same
# on every run, so that a failure is a fact about the change and not about the day.
settings.register_profile(
    "wearcast", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wearcast")
