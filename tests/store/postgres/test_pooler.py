"""The store through PgBouncer in transaction mode, which gives each transaction another session of PostgreSQL."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from tests.kit.patience import wait_until
from tests.kit.stores import postgresql
from tests.kit.stores.broken_postgresql import exists
from tests.kit.values import TENANT, NoSeal, a_delivery, a_message, make_instance
from waypost.store.postgres.store import PostgresStore

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
PORT = 6432


@contextmanager
def pooled(url):
    """Start PgBouncer in front of a database, with three sessions for all clients. Yield its URL of the database."""
    named = conninfo.conninfo_to_dict(url)
    with tempfile.TemporaryDirectory(prefix="waypost-pooler-") as name:
        directory = Path(name)
        settings = directory / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={named['host']} port={named.get('port', 5432)} user={named['user']}\n"
            "[pgbouncer]\npool_mode = transaction\nauth_type = any\ndefault_pool_size = 3\nmax_client_conn = 50\n"
            f"listen_addr =\nlisten_port = {PORT}\nunix_socket_dir = {directory}\n"
            "server_round_robin = 1\n"
        )
        as_user = []
        if os.getuid() == 0:  # PgBouncer refuses to run as root
            os.chown(directory, pwd.getpwnam(postgresql.USER).pw_uid, -1)
            as_user = ["--user", postgresql.USER]
        with (
            (directory / "log").open("w") as log,
            subprocess.Popen([PGBOUNCER, *as_user, str(settings)], stdout=log, stderr=log) as process,
        ):
            try:
                wait_until(lambda: answers(directory / f".s.PGSQL.{PORT}"), "PgBouncer did not start")
                yield conninfo.make_conninfo(**{**named, "host": str(directory), "port": PORT})
            finally:
                process.terminate()


def answers(path):
    """Return whether a program accepts connections on a Unix socket. The socket exists shortly before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def sessions(admin):
    """Return the number of sessions of other clients."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return admin.execute(query).fetchone()[0]


def message(name):
    def add(tx):
        tx.instance(TENANT, "i")
        tx.add_message(a_message(name), b"hi", [a_delivery(message_id=name)], [])
        return name

    return add


def leftovers(tx):
    """Return what earlier transactions have left behind in this session."""
    (prepared,) = tx.connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    changed = tx.connection.execute(
        "SELECT name FROM pg_settings WHERE source = 'session' AND setting <> reset_val"
        " AND name NOT IN ('transaction_isolation', 'lock_timeout', 'statement_timeout',"
        " 'idle_in_transaction_session_timeout', 'client_encoding', 'application_name')"
    )
    return prepared, [name for (name,) in changed]


@pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")
def test_the_store_works_through_a_pooler_in_transaction_mode(database, admin):
    names = [f"m{number}" for number in range(60)]

    async def scenario(url):
        store = PostgresStore(url, NoSeal(), prepares=False)
        try:
            await store.write(make_instance)
            work = [store.write(message(name), may_share=True) for name in names[::2]]
            work += [store.write(message(name)) for name in names[1::2]]
            work += [store.read(exists("i")) for _ in names]
            work += [store.long_read(exists("i"), what="the data of a test") for _ in names]
            await asyncio.gather(*work)
            return await asyncio.gather(*(store.write(leftovers) for _ in range(10)))
        finally:
            await store.close()

    with pooled(database) as url:
        assert asyncio.run(scenario(url)) == [(0, [])] * 10
        assert sessions(admin) <= 3
    assert [name for (name,) in admin.execute("SELECT id FROM messages ORDER BY id")] == sorted(names)


def test_without_prepared_statements_a_session_is_left_as_it_was(database):
    async def scenario():
        store = PostgresStore(database, NoSeal(), connections=5, prepares=False)
        try:
            for number in range(8):
                await store.write(message(f"a{number}"), may_share=True)
                await store.write(message(f"b{number}"))
                await store.read(exists("i"))
            return await store.write(leftovers)
        finally:
            await store.close()

    assert asyncio.run(scenario()) == (0, [])


def test_the_settings_of_a_transaction_end_with_it(database):
    async def scenario():
        store = PostgresStore(database, NoSeal(), connections=5)
        try:
            await store.write(make_instance)
            session = store._writes._idle[0].connection
            return session.execute("SHOW lock_timeout").fetchone()[0]
        finally:
            await store.close()

    with psycopg.connect(database) as other:
        assert asyncio.run(scenario()) == other.execute("SHOW lock_timeout").fetchone()[0]
