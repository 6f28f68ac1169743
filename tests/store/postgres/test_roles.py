"""Another role that can create tables in Waypost's schema, as every role could before PostgreSQL 15."""

import uuid
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import conninfo

from tests.kit.stores import postgresql
from tests.kit.stores.broken_postgresql import exists, with_store
from tests.kit.values import make_instance
from waypost.app.ports.upgrades import silently
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres import upgrades

TABLE = "CREATE TABLE migrations (number BIGINT CONSTRAINT migrations_once PRIMARY KEY, name TEXT NOT NULL,"
TABLE += " applied_at TIMESTAMPTZ NOT NULL); GRANT ALL ON migrations TO PUBLIC"


@contextmanager
def two_roles():
    """Create a database in which every role can create tables. Yield URLs of its owner, another role, a superuser."""
    url = postgresql.new_database()
    named = conninfo.conninfo_to_dict(url)
    owner, other = (f"role_{uuid.uuid4().hex[:12]}" for _ in range(2))
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {owner} LOGIN; CREATE ROLE {other} LOGIN; GRANT CREATE ON SCHEMA public TO PUBLIC")
        admin.execute(f'ALTER DATABASE "{named["dbname"]}" OWNER TO {owner}')
        yield *(conninfo.make_conninfo(**{**named, "user": user}) for user in (owner, other)), url
        admin.execute(f'ALTER DATABASE "{named["dbname"]}" OWNER TO {named["user"]}')
        admin.execute(f"DROP OWNED BY {owner}, {other} CASCADE; DROP ROLE {owner}, {other}")
    postgresql.drop_database(url)


async def write_and_read(store):
    await store.write(make_instance)
    return await store.read(exists("i"))


def run(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def test_a_migrations_table_that_another_role_created_is_refused():
    with two_roles() as (our_url, other_url, _):
        run(other_url, TABLE)
        with pytest.raises(postgres_connection.BadDatabase, match="The table migrations belongs to the role role_"):
            with_store(our_url, write_and_read)


@pytest.mark.parametrize("maker", ["the role itself", "a superuser"])
def test_a_migrations_table_of_the_role_itself_or_of_a_superuser_is_accepted(maker):
    with two_roles() as (our_url, _, admin_url):
        run(our_url if maker == "the role itself" else admin_url, TABLE)
        assert with_store(our_url, write_and_read)


def test_a_migrations_table_of_the_database_owner_is_accepted():
    with two_roles() as (owner_url, our_url, _):
        run(owner_url, TABLE)
        assert with_store(our_url, write_and_read)


def test_a_role_that_may_only_read_and_write_uses_tables_that_the_owner_of_the_database_has_migrated():
    with two_roles() as (owner_url, our_url, admin_url):
        assert with_store(owner_url, write_and_read)
        run(admin_url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        run(owner_url, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO PUBLIC")
        assert with_store(our_url, read_and_write_again)


def test_servers_can_use_the_tables_of_a_migration_that_a_superuser_has_run():
    with two_roles() as (our_url, _, admin_url):
        assert with_store(our_url, write_and_read)
        run(our_url, "DROP TABLE migration_versions; ALTER TABLE message_bodies DROP COLUMN checksum")
        run(our_url, "DELETE FROM migrations WHERE number > 14")
        upgrades.run(admin_url, silently, may_make=True)
        assert with_store(our_url, read_and_write_again)


async def read_and_write_again(store):
    await store.write(lambda tx: tx.first_time("a test"))
    return await store.read(exists("i"))
