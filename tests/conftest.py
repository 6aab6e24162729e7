"""What all tests share."""

from hypothesis import HealthCheck, settings

# A first run on a cold cache may be slow; that says nothing of what is tested.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")
