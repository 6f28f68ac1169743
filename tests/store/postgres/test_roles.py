"""Another role that may make tables where ours are: public was open to every role before PostgreSQL 15."""

import uuid
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import conninfo

from tests.kit.stores import postgresql
from tests.kit.stores.broken_postgresql import exists, with_store
from tests.kit.values import make_instance
from waypost.store.postgres import connection as postgres_connection

TABLE = "CREATE TABLE migrations (number BIGINT CONSTRAINT migrations_once PRIMARY KEY, name TEXT NOT NULL,"
TABLE += " applied_at TIMESTAMPTZ NOT NULL); GRANT ALL ON migrations TO PUBLIC"


@contextmanager
def two_roles():
    """URLs of a database in which everybody may make tables: for its owner, for another role, and for a superuser."""
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


async def use(store):
    await store.write(make_instance)
    return await store.read(exists("i"))


def run(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def test_a_table_that_another_role_made_first_is_not_taken_for_ours():
    with two_roles() as (ours, theirs, _):
        run(theirs, TABLE)
        with pytest.raises(postgres_connection.BadDatabase, match="The table migrations belongs to the role role_"):
            with_store(ours, use)


@pytest.mark.parametrize("maker", ["the role itself", "a superuser"])
def test_a_table_of_the_role_itself_or_of_a_superuser_is(maker):
    with two_roles() as (ours, _, admins):
        run(ours if maker == "the role itself" else admins, TABLE)
        assert with_store(ours, use)


def test_tables_of_the_database_s_owner_are_for_another_role_too():
    with two_roles() as (owners, ours, _):
        run(owners, TABLE)
        assert with_store(ours, use)
