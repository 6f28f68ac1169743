"""A transaction on an empty SQLite in memory."""

import pytest

from tests.values import make_instance
from waypost.store import sqlite_file


@pytest.fixture
def tx():
    transaction = sqlite_file.in_memory()
    yield transaction
    transaction._connection.close()


@pytest.fixture
def instance(tx):
    return make_instance(tx)
