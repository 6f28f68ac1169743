"""Skips tests that do not apply to the servers of a plugin for pytest."""

import pytest


def skip_by_name(items, reasons):
    """Skip the collected tests whose names are keys of `reasons`. The values are the reasons."""
    for item in items:
        name = getattr(item, "originalname", item.name)
        if name in reasons:
            item.add_marker(pytest.mark.skip(reason=reasons[name]))
