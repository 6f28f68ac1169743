"""Changes the time limits of the stores for a test."""

from msgspec.structs import replace

from waypost.store.common import time_limits


def set_limits(monkeypatch, **limits):
    """Set limits of `TimeLimits`, in seconds, for stores that are opened later in this test."""
    monkeypatch.setattr(time_limits, "LIMITS", replace(time_limits.LIMITS, **limits))
