"""How many random scenarios a run of these tests draws.

The suite's share is small. A campaign draws many, always new ones::

    python -m pytest tests/invariants -p no:randomly --hypothesis-profile=campaign
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "campaign",
    deadline=None,
    max_examples=10_000,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=False,
    print_blob=True,
)
