"""Every test of the contract runs on both stores, on a database of its own."""

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.stores.both_stores import ENGINES
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import make_instance


@pytest.fixture(scope="session")
def _engines():
    """Kept to the end: pytest forgets a fixture when it turns to another parameter, and may turn back."""
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
    """Where there is no schema yet."""
    database = engine.empty()
    yield database
    engine.drop(database)


@pytest.fixture
def database(engine):
    """A database with the newest schema and nothing in it."""
    database = engine.fresh()
    yield database
    engine.drop(database)


@pytest.fixture(autouse=True)
def _patient_with_locks(monkeypatch):
    """A transaction that waits for another gets its turn, also on a slow machine."""
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
    """Make these calls at once, on two nodes by turns; returns the outcomes."""
    other = store.another()
    return lambda *use_cases: store.concurrently(*use_cases, on=[other])


@pytest.fixture
def _side_by_side(engine):
    """For tests of transactions that are in each other's way in the middle."""
    if engine.writers == 1:
        pytest.skip("SQLite has one writer, who waits for nobody")
