"""A PostgreSQL database, a proxy before it, and bounds that a test can wait for."""

import psycopg
import pytest

from tests import postgresql
from tests.counting_proxy import CountingProxy
from tests.store.breaking import with_store
from waypost.store import postgres


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
def impatient(monkeypatch):
    """Bounds that a test can wait for."""
    monkeypatch.setattr(postgres, "ANSWER_SECONDS", 0.15)
    monkeypatch.setattr(postgres, "WAIT_SECONDS", 0.1)


@pytest.fixture
def admin(database):
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection
