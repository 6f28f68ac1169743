"""Fixtures that run every test of the contract on both stores, each test with its own database."""

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.stores.both_stores import ENGINES
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import make_instance


@pytest.fixture(scope="session")
def _engines():
    """Keep the engines until the end of the run: pytest closes a session fixture when it switches to another parameter,
    and may switch back later.
    """
    made = {}
    yield made
    for engine in made.values():
        engine.close()


@pytest.fixture(scope="session", params=ENGINES)
def engine(_engines, request):
    if request.param not in _engines:
        _engines[request.param] = ENGINES[request.param]()
    return _engines[request.param]


@pytest.fixture
def empty(engine):
    """A database without a schema."""
    database = engine.empty()
    yield database
    engine.drop(database)


@pytest.fixture
def database(engine):
    """A database with the newest schema and no data."""
    database = engine.fresh()
    yield database
    engine.drop(database)


@pytest.fixture(autouse=True)
def _patient_with_locks(monkeypatch):
    """Give a transaction enough time to get a lock that another transaction holds, even on a slow machine."""
    set_limits(monkeypatch, held_row=PATIENCE)


@pytest.fixture
def store(engine):
    with engine.empty_store() as handle:
        yield handle


@pytest.fixture
def instance(store):
    return store.write(make_instance)


@pytest.fixture
def race(store):
    """A function that runs use cases at the same time, on two nodes alternately, and returns their outcomes."""
    other = store.another()
    return lambda *use_cases: store.concurrently(*use_cases, on=[other])


@pytest.fixture
def _needs_concurrent_writers(engine):
    """Skip the test if the engine cannot run two write transactions at the same time."""
    if engine.writers == 1:
        pytest.skip("SQLite has a single writer, so its transactions never wait for each other")
