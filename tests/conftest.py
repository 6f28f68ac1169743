"""A transaction on an empty SQLite in memory; and what tests have to tell, at the end."""

import pytest

from tests.values import NoSeal, make_instance
from waypost.store import sqlite_file


@pytest.fixture
def tx():
    transaction = sqlite_file.in_memory(NoSeal())
    yield transaction
    transaction.connection.close()


@pytest.fixture
def instance(tx):
    return make_instance(tx)


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports("passed"):
        for name, told in getattr(report, "user_properties", ()):
            if name == "to_be_told" and report.when == "call":
                terminalreporter.write_line(told)
