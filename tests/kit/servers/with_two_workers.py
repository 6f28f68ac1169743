"""A plugin for pytest: every server that a test starts has two worker processes (`make workers`)."""

import pytest

from waypost.testing import process

NOT_HERE: dict[str, str] = {}
"""Tests that do not apply to several worker processes, each with the reason."""

_make = process.Server.__init__


def _with_two_workers(self, data, *options):
    if "--workers" not in options and "virtual" not in options:  # a virtual clock needs a single process
        options = (*options, "--workers", "2")
    _make(self, data, *options)


process.Server.__init__ = _with_two_workers


def pytest_collection_modifyitems(items):
    for item in items:
        name = getattr(item, "originalname", item.name)
        if name in NOT_HERE:
            item.add_marker(pytest.mark.skip(reason=NOT_HERE[name]))
