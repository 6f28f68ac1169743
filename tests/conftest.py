"""Fixtures and hooks for all tests, among them a transaction on an empty SQLite database in memory."""

import asyncio
import gc
import os
import signal
import sys

import hypothesis
import pytest

from tests.kit.examples import examples
from tests.kit.servers import forked
from tests.kit.values import in_memory, make_instance
from waypost.testing import process

# There is no deadline, because a test must not fail on a busy machine.
hypothesis.settings.register_profile("waypost", deadline=None, max_examples=examples(100))
hypothesis.settings.load_profile("waypost")


@pytest.fixture
def tx():
    transaction = in_memory()
    yield transaction
    transaction.connection.close()


@pytest.fixture
def instance(tx):
    return make_instance(tx)


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports("passed"):
        for name, line in getattr(report, "user_properties", ()):
            if name == "to_be_told" and report.when == "call":
                terminalreporter.write_line(line)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects tests by their marks
def pytest_collection_modifyitems(items):
    """A test of both event loops runs on uvloop, which the server uses. `make slow` runs it on asyncio's loop."""
    for item in items:
        if hasattr(item, "callspec") and item.callspec.params.get("loop") in ("asyncio", asyncio.new_event_loop):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect the tests without the garbage collector, which would traverse them repeatedly, also later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000)
        gc.enable()


process.subprocess = forked

# Tests and servers start often, so their modules are compiled only once.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Under `nohup`, SIGHUP is ignored, and every server that a test starts would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

UMASK = os.umask(0o022)
os.umask(UMASK)


def pytest_runtest_teardown():
    """Restore the umask, which a server or a command in this process changes for the whole process."""
    os.umask(UMASK)
