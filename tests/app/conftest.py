"""A transaction on an empty SQLite in memory."""

import sqlite3
from pathlib import Path

import pytest

from tests.houses import make_instance
from waypost.store import sqlite


@pytest.fixture
def tx():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    sqlite._migrate(connection, Path(":memory:"))
    yield sqlite.Transaction(connection)
    connection.close()


@pytest.fixture
def instance(tx):
    return make_instance(tx)
