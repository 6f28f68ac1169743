"""A plugin for pytest: every server that a test starts has two worker processes (`make workers`)."""

from itertools import pairwise
from pathlib import Path

from tests.kit.skips import skip_by_name
from waypost.testing import process

NOT_HERE = {
    "test_the_server_logs_the_limits_of_connections_at_its_start": "each worker process logs its limits",
    "test_limits_and_required_tls_apply_to_each_client_behind_a_load_balancer": (
        "connections to different worker processes are not admitted in the order in which clients connect"
    ),
}
"""Tests that do not apply to several worker processes, each with the reason."""

_make = process.Server.__init__


def _with_two_workers(self, data, *options, **more):
    if "--workers" not in options and not _has_virtual_clock(options):
        options = (*options, "--workers", "2")
    _make(self, data, *options, **more)


def _has_virtual_clock(options):
    """Return whether a server has a virtual clock, which needs a single process."""
    files = [Path(file) for option, file in pairwise(options) if option == "--config"]
    return any("virtual" in text for text in (*options, *(file.read_text() for file in files if file.exists())))


process.Server.__init__ = _with_two_workers


def pytest_collection_modifyitems(items):
    skip_by_name(items, NOT_HERE)
