"""The test kit for the PostgreSQL store: its databases, its servers and its counting proxy work as documented."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psycopg
import pytest

from tests.kit.patience import PATIENCE
from tests.kit.stores import postgresql
from tests.kit.stores.counting_proxy import CountingProxy, Counts
from tests.kit.stores.postgresql import OwnServer

ROOT = Path(__file__).parents[3]
TEMPORARY = Path(tempfile.gettempdir())


@pytest.fixture
def database():
    url = postgresql.new_database()
    yield url
    postgresql.drop_database(url)


@pytest.fixture
def proxy():
    with CountingProxy(postgresql.address_of(postgresql.server())) as running:
        yield running


@pytest.fixture
def client(proxy):
    with psycopg.connect(proxy.url(postgresql.server()), autocommit=True) as connection:
        proxy.reset()
        yield connection


def one(url, query, *parameters):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query, parameters).fetchone()[0]


def run(url, *statements):
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


# Databases


def test_a_new_database_is_empty_and_dropping_it_disconnects_its_users(database):
    other = postgresql.new_database()
    assert other != database
    with psycopg.connect(other, autocommit=True) as client_connection:
        client_connection.execute("CREATE TABLE t (n int)")
        postgresql.drop_database(other)
        with pytest.raises(psycopg.OperationalError):
            client_connection.execute("SELECT 1")
    assert one(database, "SELECT count(*) FROM pg_class WHERE relname = 't'") == 0
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(other)


def test_a_template_database_is_created_once_and_copied():
    made = []

    def make(url):
        made.append(url)
        run(url, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (7)")

    name = f"of_{os.getpid()}"
    template = postgresql.template_database(name, make)
    assert postgresql.template_database(name, make) == template
    copies = [postgresql.new_database(template) for _ in range(2)]
    assert [one(copy, "SELECT n FROM t") for copy in copies] == [7, 7]
    assert len(made) == 1
    for copy in copies:
        postgresql.drop_database(copy)


@pytest.mark.skipif("WAYPOST_TEST_POSTGRES" in os.environ, reason="the settings of an external server are unknown")
def test_the_server_of_the_test_run_does_not_wait_for_the_disk():
    settings = {name: one(postgresql.server(), "SELECT current_setting(%s)", name) for name in SETTINGS_OF_THE_RUN}
    assert settings == SETTINGS_OF_THE_RUN
    assert len(postgresql.address_of(postgresql.server())) < 100


SETTINGS_OF_THE_RUN = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "max_connections": "300",
    "listen_addresses": "",
}


@pytest.mark.skipif(
    not shutil.which("localedef") or not Path("/usr/share/i18n/locales").exists(),
    reason="no locale sources",
)
def test_the_collation_of_the_test_server_is_not_the_order_of_bytes(database):
    assert one(database, "SELECT 'a' < 'B'")


USE = """
import sys
from tests.kit.stores import postgresql
print(postgresql.server(), flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.skipif("WAYPOST_TEST_POSTGRES" in os.environ, reason="the tests must not stop an external server")
@pytest.mark.parametrize("end", ["orderly", "killed"])
def test_the_server_of_a_test_run_stops_with_its_last_worker(end):
    run_id = f"t{os.getpid()}{end}"[:12]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", USE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTEST_XDIST_TESTRUNUID": run_id},
        )
        for _ in range(2)
    ]
    first, second = (worker.stdout.readline().strip() for worker in workers)
    assert first == second
    for worker in workers:
        assert one(first, "SELECT 1") == 1
        if end == "killed":
            worker.kill()
        worker.communicate()
    home = Path(postgresql.address_of(first)).parent
    postgresql._until(lambda: not home.exists())
    postgresql._until(lambda: not list(TEMPORARY.glob(f"waypost-{run_id}*")))


# A server for a single test


@pytest.fixture(scope="module")
def own():
    with OwnServer() as running:
        run(running.url, "CREATE TABLE t (n int)")
        yield running


def test_the_data_of_an_own_server_survives_every_kind_of_stop(own):
    assert one(own.url, "SHOW fsync") == "on"
    for number, end in enumerate(["fast", "immediate", "kill"]):
        run(own.url, f"INSERT INTO t VALUES ({number})")
        if end == "kill":
            own.kill()
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(own.url)
            own.start()
        else:
            own.restart(end)
        assert one(own.url, "SELECT count(*) FROM t") == number + 1


def test_stopping_an_own_server_disconnects_its_clients(own):
    with psycopg.connect(own.url, autocommit=True) as client_connection:
        own.restart("immediate")
        with pytest.raises(psycopg.OperationalError):
            client_connection.execute("SELECT 1")
    assert one(own.new_database(), "SELECT 1") == 1


def test_an_own_server_leaves_no_files_after_a_kill():
    with OwnServer(fsync=False, tcp=True) as running:
        assert one(running.url, "SHOW fsync") == "off"
        assert postgresql.address_of(running.url) == ("127.0.0.1", one(running.url, "SELECT inet_server_port()"))
        home = Path(one(running.url, "SHOW data_directory")).parent
        running.kill()
    assert not home.exists()
    assert not list(TEMPORARY.glob(f"{home.name}*"))


def test_an_own_server_leaves_no_files_after_an_error():
    failing = OwnServer()
    with pytest.raises(ZeroDivisionError), failing:
        1 // 0  # noqa: B018
    assert not Path(postgresql.address_of(failing.url)).parent.exists()


def test_a_server_that_cannot_start_raises_an_error_with_the_reason():
    with pytest.raises(postgresql.ServerDied, match="work_mem"), OwnServer(work_mem="many"):
        pass


# The proxy


def test_each_statement_counts_as_one_round_trip(proxy, client):
    client.execute("SELECT 1")
    assert proxy.counts.round_trips == 1
    client.execute("SELECT 1")
    assert proxy.counts.round_trips == 2
    proxy.reset()
    assert proxy.counts == Counts()


def test_a_pipeline_counts_as_one_round_trip(proxy, client):
    with client.pipeline():
        for number in range(5):
            client.execute("SELECT %s::int", [number])
    assert proxy.counts.round_trips == 1


def test_a_statement_that_the_kernel_splits_counts_as_one_round_trip(proxy, client):
    large = b"x" * 3_000_000
    assert client.execute("SELECT %b::bytea", [large], binary=True).fetchone() == (large,)
    counts = proxy.counts
    assert counts.round_trips == 1
    assert counts.octets_from_client > len(large)
    assert counts.octets_from_server > len(large)


def test_the_counts_cover_all_connections(proxy, database):
    for _ in range(3):
        assert one(proxy.url(database), "SELECT 1") == 1
    assert (proxy.counts.connections, proxy.counts.round_trips) == (3, 6)


def test_a_cut_breaks_existing_connections_only(proxy, client):
    proxy.cut()
    with pytest.raises(psycopg.OperationalError):
        client.execute("SELECT 1")
    assert one(proxy.url(postgresql.server()), "SELECT 1") == 1


def test_held_data_arrives_after_the_release(proxy, client):
    proxy.hold()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(client.execute("SELECT 7").fetchone()))
    asking.start()
    asking.join(0.05)
    assert (answers, proxy.counts.round_trips) == ([], 0)
    proxy.release()
    asking.join(PATIENCE)
    assert answers == [(7,)]


def test_a_cut_breaks_a_held_connection(proxy, client):
    proxy.hold()
    threading.Timer(0.02, proxy.cut).start()
    with pytest.raises(psycopg.OperationalError):
        client.execute("SELECT 1")


def test_the_proxy_closes_a_connection_if_there_is_no_server():
    with CountingProxy("/nowhere/.s.PGSQL.5432") as nothing, pytest.raises(psycopg.OperationalError):
        psycopg.connect(nothing.url("postgresql://postgres@/postgres"))
