"""Fixtures for the tests of the PostgreSQL store: a database, a connection to it, and a proxy in front of it."""

import psycopg
import pytest

from tests.kit.stores import postgresql
from tests.kit.stores.broken_postgresql import with_store
from tests.kit.stores.counting_proxy import CountingProxy


@pytest.fixture
def database():
    url = postgresql.new_database(
        postgresql.template_database("store", lambda url: with_store(url, lambda store: store.write(lambda _: None)))
    )
    yield url
    postgresql.drop_database(url)


@pytest.fixture
def proxy(database):
    with CountingProxy(postgresql.address_of(database)) as running:
        yield running


@pytest.fixture
def admin(database):
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection
