"""Other time limits of the stores, for a test."""

from dataclasses import replace

from waypost.store.common import time_limits


def set_limits(monkeypatch, **limits):
    """Stores that are opened from now on, in this test, have these limits of `TimeLimits`, in seconds."""
    monkeypatch.setattr(time_limits, "LIMITS", replace(time_limits.LIMITS, **limits))
