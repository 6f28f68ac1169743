"""A transaction on an empty SQLite in memory."""

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
