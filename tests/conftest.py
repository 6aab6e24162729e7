"""What all tests share."""

import os

from hypothesis import HealthCheck, settings

# A first run on a cold cache may be slow; that says nothing of what is tested. In CI the examples
# are the same each time, so that a failure belongs to the change; elsewhere they are always new.
settings.register_profile(
    "default",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("default")
