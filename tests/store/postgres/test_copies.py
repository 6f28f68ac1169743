"""The copy of an SQLite file in a PostgreSQL database whose role has short time limits."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.stores import postgresql
from waypost.app import ports
from waypost.store.postgres import copies

WAITING = """SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
             AND clock_timestamp() - query_start > '700 ms'"""

LIMITED = ["statement_timeout", "lock_timeout", "transaction_timeout"]

STEPS = [
    lambda made, table: made.count(table),
    lambda made, table: made.last_key(table),
    lambda made, table: list(made.rows(table)),
    lambda made, _: made.build(lambda *_: None),
]


@pytest.fixture
def together(monkeypatch):
    """Let several programs copy to one database, which are threads here."""
    monkeypatch.setattr(copies, "_alone", lambda _: contextlib.nullcontext())


@pytest.fixture
def url():
    url = postgresql.new_database()
    yield url
    postgresql.drop_database(url)


@pytest.mark.usefixtures("together")
def test_the_time_limits_of_the_role_do_not_end_what_reads_whole_tables(url):
    with copies.target(url, "d") as made:
        table = made.tables()["messages"]
        made.build(lambda *_: None)  # later calls only run ANALYZE

    def run(step):
        with copies.target(url, "d") as made:
            return step(made, table)

    with ThreadPoolExecutor(len(STEPS)) as threads, psycopg.connect(url, autocommit=True) as admin:
        known = [name for (name,) in admin.execute("SELECT name FROM pg_settings WHERE name = ANY (%s)", [LIMITED])]
        for name in known:
            admin.execute(f'ALTER ROLE CURRENT_USER IN DATABASE "{admin.info.dbname}" SET {name} = 500')
        with admin.transaction():
            admin.execute("LOCK TABLE messages")  # as if the table took long to be read
            began = [threads.submit(run, step) for step in STEPS]
            with psycopg.connect(url, autocommit=True) as observer:
                wait_until(lambda: any(one.done() for one in began) or observer.execute(WAITING).rowcount == len(STEPS))
        assert [one.result(PATIENCE) for one in began] == [0, None, [], None]


TRYING = (
    b"SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_try_advisory_xact_lock%' AND state LIKE 'idle in%'"
)


def test_a_copy_that_begins_immediately_after_another_was_interrupted_waits_for_its_lock(url):
    with psycopg.connect(url, autocommit=True) as interrupted, ThreadPoolExecutor(1) as threads:
        interrupted.execute("BEGIN")
        interrupted.execute(copies._TAKE_LOCK)

        def copy():
            with copies.target(url, "d"):
                return "begun"

        begun = threads.submit(copy)
        with psycopg.connect(url, autocommit=True) as observer:
            wait_until(lambda: observer.execute(TRYING).rowcount)
        interrupted.execute("ROLLBACK")
        assert begun.result(PATIENCE) == "begun"


def test_a_second_copy_to_the_same_database_is_refused_until_the_first_has_ended(url, monkeypatch):
    monkeypatch.setattr(copies, "_LOCK_WITHIN", 0.0)
    refused = pytest.raises(ports.StoreUnavailable, match="Another `waypost copy` is writing to PostgreSQL database ")
    with copies.target(url, "d"), refused, copies.target(url, "d"):
        pass
    with copies.target(url, "d"):
        pass
