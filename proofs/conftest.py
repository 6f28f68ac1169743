"""Provides two servers on one new PostgreSQL database for each test."""

import pytest

from tests.kit.servers.running import running_on
from tests.kit.stores import postgresql


@pytest.fixture
def pair(tmp_path):
    url = postgresql.new_database()
    with running_on(url, tmp_path / "one", tmp_path / "other") as systems:
        yield systems
    postgresql.drop_database(url)
