"""PostgreSQL sessions that are broken or badly configured: the store closes them, and other calls are not affected."""

import asyncio
import threading
from functools import partial

import pytest

from tests.kit.patience import PATIENCE, until
from tests.kit.stores.broken_postgresql import AT_ONCE, exists, seconds_at_most, with_store
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import TENANT, make_instance
from waypost.app import ports
from waypost.domain import errors
from waypost.domain.mail.delivery import Reason
from waypost.store import sql
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import errors as postgres_errors


def test_a_transaction_that_hangs_loses_its_session_and_its_row_locks(database, monkeypatch):
    set_limits(monkeypatch, silence=1.0)
    over, runs = threading.Event(), []

    def hang(tx):
        tx.lock_instance(TENANT, "i")
        runs.append("done" if over.is_set() else "lost")
        over.wait(PATIENCE)
        make_instance(tx, "late")

    async def scenario(store):
        await store.write(make_instance)
        hanging = asyncio.create_task(store.write(hang))
        await until(lambda: runs)
        with seconds_at_most(AT_ONCE):
            await store.write(lambda tx: tx.lock_instance(TENANT, "i"))
        assert not await store.read(exists("late"))
        over.set()
        await hanging  # the store has run it again
        return runs

    assert with_store(database, scenario) == ["lost", "done"]


def test_a_session_whose_setup_failed_is_not_used(database, monkeypatch):
    set_up, failures = postgres_connection.set_up, []

    def fail_once(connection, **settings):
        if not failures:
            failures.append(connection)
            connection.execute("SET statement_timeout = 1; SELECT pg_sleep(1)")
        set_up(connection, **settings)

    async def scenario(store):
        monkeypatch.setattr(postgres_connection, "set_up", fail_once)
        with pytest.raises(ports.StoreUnavailable):
            await store.write(make_instance)
        return await store.write(lambda tx: tx.connection.execute("SHOW lock_timeout").fetchone())

    assert with_store(database, scenario) == ("3s",)


def test_a_domain_error_keeps_the_prepared_statements(database):
    def prepared(tx):
        return tx.connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0]

    def refused(tx):
        make_instance(tx, "j")
        raise errors.Conflict("no")

    async def scenario(store):
        for _ in range(2):
            await store.write(lambda tx: tx.instance(TENANT, "i"))
        before = await store.write(prepared)
        with pytest.raises(errors.Conflict):
            await store.write(refused)
        return before, await store.write(prepared), await store.read(exists("j"))

    before, after, kept = with_store(database, scenario)
    assert 0 < before <= after
    assert not kept


def test_a_thread_that_cannot_be_started_does_not_use_up_a_connection(database, monkeypatch):
    async def scenario(store):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", cannot_start)
            for _ in range(5):
                with pytest.raises(ports.StoreUnavailable, match="thread"):
                    await store.write(make_instance)
        assert not await store.read(exists("i"))
        await store.write(make_instance)
        return await store.read(exists("i"))

    def cannot_start(_):
        raise RuntimeError("can't start new thread")

    assert with_store(database, scenario)


@pytest.mark.parametrize(
    "state", ["08006", "25006", "25P03", "25P04", "53100", "53300", "57014", "57P01", "58030", "XX000"]
)
def test_an_error_of_the_database_server_is_a_store_failure(database, state):
    fail = f"DO $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}', DETAIL = 'secret'; END$$"

    async def scenario(store):
        await store.write(make_instance)
        for run in (store.write, store.read):
            with pytest.raises(ports.StoreUnavailable) as raised:
                await run(lambda tx: tx.connection.execute(fail))
            assert "secret" not in str(raised.value)
        return await store.read(exists("i"))

    assert with_store(database, scenario)


def test_a_read_that_waits_too_long_for_a_table_lock_is_not_a_conflict(database, admin, monkeypatch):
    set_limits(monkeypatch, held_row=0.1)

    async def scenario(store):
        with admin.transaction():
            admin.execute("LOCK TABLE instances IN ACCESS EXCLUSIVE MODE")
            for run, expected_error in (
                (store.read, ports.StoreUnavailable),
                (partial(store.long_read, what="the data of a test"), ports.StoreUnavailable),
                (store.write, errors.Busy),
            ):
                with pytest.raises(expected_error):
                    await run(exists("i"))
        return await store.read(exists("i"))

    assert not with_store(database, scenario)


@pytest.mark.parametrize("setting", ["client_encoding = 'LATIN1'", "search_path = public", "bytea_output = 'escape'"])
def test_settings_of_the_database_do_not_change_the_stored_data(database, admin, setting):
    admin.execute(f"ALTER DATABASE {admin.info.dbname} SET {setting}")

    async def scenario(store):
        await store.write(lambda tx: make_instance(tx, "日本\N{GRINNING FACE}"))
        return await store.read(exists("日本\N{GRINNING FACE}"))

    assert with_store(database, scenario)


def test_a_connection_with_outdated_prepared_statements_is_closed(database, admin):
    async def scenario(store):
        await store.write(make_instance)
        for _ in range(2):
            await store.write(exists("i"))
            await store.read(exists("i"))
        admin.execute("ALTER TABLE instances ALTER COLUMN directory_id TYPE VARCHAR(99)")
        with pytest.raises(postgres_errors.Unexpected, match="cached plan"):
            await store.write(exists("i"))
        return await store.write(exists("i")) and await store.read(exists("i"))  # a read runs again by itself

    assert with_store(database, scenario)


MANY_ADDRESSES = """
INSERT INTO instances (id, account, region, identity_management_type, inbound_calls_enabled, outbound_calls_enabled,
                       created_at) VALUES ('i', '', '', '', true, true, 0);
INSERT INTO email_addresses (id, instance_id, account, address, address_key, created_at, modified_at)
SELECT 'r' || n, 'i', '', 'a', n, 0, 0 FROM generate_series(1, 20000) AS n;
INSERT INTO alias_link_ends (email_address_id, side, other_id, other_side, created_at)
SELECT 'r' || n, CASE n % 2 WHEN 0 THEN 'primary' ELSE 'alias' END, 'r' || (n + n % 2 * 2 - 1),
       CASE n % 2 WHEN 0 THEN 'alias' ELSE 'primary' END, 0 FROM generate_series(1, 20000) AS n;
INSERT INTO search_entries (email_address_id, instance_id, address, display_name, description, trigrams)
SELECT id, instance_id, address, '', '', '{}' FROM email_addresses;
INSERT INTO tags SELECT id, 'k', 'v' FROM email_addresses;
ANALYZE"""


def test_a_step_that_removes_addresses_of_an_instance_does_not_read_the_rows_of_others(database, admin):
    admin.execute(MANY_ADDRESSES)
    for name in ("links", "tags", "search_entries", "email_addresses"):
        query = sql.load("postgres")[f"remove_listed_{name}"].sql.replace("$1", "'{r1,r2,r3}'::text[]")
        plan = "\n".join(line for (line,) in admin.execute(f"EXPLAIN {query}"))
        assert "Seq Scan" not in plan, plan


def test_the_mail_of_an_account_is_found_with_an_index(admin):
    query = sql.load("postgres")["mailbox"].sql
    for number, value in enumerate(("'a'", "'~'", "''", "''", "NULL", "10"), 1):
        query = query.replace(f"${number}", value)
    admin.execute("SET enable_seqscan = off")  # the table is empty, so PostgreSQL would prefer a scan
    plan = "\n".join(line for (line,) in admin.execute(f"EXPLAIN {query}"))
    admin.execute("RESET enable_seqscan")
    assert plan.count("Index Only Scan Backward using deliveries_by_reason") == len(Reason)
    assert plan.count("Sort Key") == 1  # of the two pages together
