"""`waypost migrate` on both databases: what it shows, what it runs, and what it refuses."""

import contextlib
import json
import sqlite3

import psycopg
import pytest

from tests.kit.servers.running import MASTER_KEY, waypost
from tests.kit.stores import postgresql
from tests.kit.stores.both_stores import ENGINES
from waypost.app.ports.upgrades import silently
from waypost.host.data_directory import DataDirectory
from waypost.server import opening, upgrades
from waypost.server.opening import CannotStart
from waypost.store import migrations

known = migrations.known
SQLITE_LAST, POSTGRES_LAST = (known(dialect)[-1].number for dialect in ("sqlite", "postgres"))


@pytest.fixture
def previous(monkeypatch):
    """A function that turns this program into version 0.1.0, and back."""

    def be(is_previous):
        last = migrations.LAST_OF_0_1_0
        shown = (lambda dialect: known(dialect)[: last[dialect]]) if is_previous else known
        monkeypatch.setattr(migrations, "known", shown)

    return be


@pytest.fixture
def data(tmp_path, previous):
    """A data directory with the SQLite file of version 0.1.0."""
    previous(True)
    assert waypost("keys", "create", "--data", tmp_path / "data").returncode == 0
    previous(False)
    return tmp_path / "data"


@pytest.fixture
def url(previous):
    """A PostgreSQL database of version 0.1.0."""
    engine, url = ENGINES["postgres"](), postgresql.new_database()
    previous(True)
    engine.migrate(url)
    previous(False)
    yield url
    postgresql.drop_database(url)


def migrated(*options, code=0):
    done = waypost("migrate", *options)
    assert done.returncode == code, done
    return done


def newest(data):
    with contextlib.closing(sqlite3.connect(data / "waypost.sqlite3")) as connection:
        return connection.execute("SELECT max(number) FROM migrations").fetchone()[0]


def test_a_plan_of_an_sqlite_file_changes_nothing_and_a_run_migrates_it(data):
    before = (data / "waypost.sqlite3").read_bytes()
    shown = migrated("--plan", "--data", data).stdout
    assert f"waypost.sqlite3 has schema 16. Waypost {migrations.waypost.__version__} needs" in shown
    assert "17 versions (transaction)\n  Each migration is recorded with the version of Waypost" in shown
    assert (data / "waypost.sqlite3").read_bytes() == before
    ran = migrated("--run", "--data", data).stdout
    assert "\n17 versions: done in " in ran
    assert ran.endswith(f"has all migrations of Waypost {migrations.waypost.__version__}.\n")
    assert newest(data) == SQLITE_LAST
    assert "There is nothing to do." in migrated("--plan", "--data", data).stdout
    assert migrated("--run", "--data", data).stdout.startswith(str(data))


def test_a_plan_of_a_postgresql_database_needs_no_data_directory(url, tmp_path):
    at = ("--database", url, "--data", tmp_path / "nothing")
    plan = json.loads(migrated("--plan", *at, "--json").stdout)
    assert plan["version"] == migrations.waypost.__version__
    assert plan["schema"] == 14
    assert {"number": 15, "name": "versions", "kind": "transaction"}.items() <= plan["pending"][0].items()
    ran = json.loads(migrated("--run", *at, "--json").stdout)
    assert (ran["schema"], [one["number"] for one in ran["applied"]]) == (
        POSTGRES_LAST,
        [*range(15, POSTGRES_LAST + 1)],
    )
    assert json.loads(migrated("--run", *at, "--json").stdout)["applied"] == []
    assert not (tmp_path / "nothing").exists()


def test_a_run_shows_the_state_after_migrations_of_another_process(data, monkeypatch):
    real = upgrades.run

    def run(directory, report, **options):
        real(directory, silently, **options)  # another process is faster
        real(directory, report, **options)

    monkeypatch.setattr(upgrades, "run", run)
    ran = json.loads(migrated("--run", "--data", data, "--json").stdout)
    assert (ran["schema"], ran["pending"], ran["applied"]) == (SQLITE_LAST, [], [])


def test_a_plan_shows_what_each_migration_blocks(url, tmp_path, monkeypatch):
    steps = [
        "-- Column.\n-- kind: transaction\nALTER TABLE messages ADD COLUMN a TEXT;\n",
        "-- Index.\n-- kind: concurrently\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a ON messages (size);\n",
    ]
    more = [migrations.parsed(901 + place, "more", sql) for place, sql in enumerate(steps)]
    monkeypatch.setattr(migrations, "known", lambda dialect: [*known(dialect), *more])
    with psycopg.connect(url) as connection:
        connection.execute("ANALYZE messages")
    shown = migrated("--plan", "--database", url, "--data", tmp_path / "nothing").stdout
    assert "901 more (transaction)\n  Column.\n  Blocks reads and writes of messages for a moment.\n" in shown
    assert (
        "902 more (concurrently)\n  Index.\n  Reads messages, for a time in proportion to its rows (about 0)" in shown
    )
    effects = json.loads(migrated("--plan", "--database", url, "--data", tmp_path / "x", "--json").stdout)["pending"]
    assert effects[-1]["effects"] == [
        {"table": "messages", "blocks": "nothing", "lasts": "in proportion to the rows", "rows": 0}
    ]


def test_an_empty_postgresql_database_gets_its_tables(tmp_path):
    url = postgresql.new_database()
    at = ("--database", url, "--data", tmp_path / "nothing")
    assert "has schema 0." in migrated("--plan", *at).stdout
    migrated("--run", *at)
    assert "There is nothing to do." in migrated("--plan", *at).stdout
    postgresql.drop_database(url)


def test_the_tables_of_a_lost_database_are_not_made_again(tmp_path):
    url = postgresql.new_database()
    (tmp_path / "lock").write_text("1")
    refused = migrated("--run", "--database", url, "--data", tmp_path, code=1)
    assert "contains none of Waypost's tables, but a server has stored data there" in refused.stderr
    postgresql.drop_database(url)


def test_an_sqlite_file_that_a_server_uses_is_shown_but_not_migrated(data):
    with DataDirectory(data).held():
        migrated("--plan", "--data", data)
        assert "Another Waypost server is using" in migrated("--run", "--data", data, code=1).stderr
    assert newest(data) == 16


@pytest.mark.parametrize("which", [("--plan",), ("--run",)])
def test_a_database_of_a_newer_version_is_refused(data, which):
    with contextlib.closing(sqlite3.connect(data / "waypost.sqlite3")) as connection, connection:
        connection.execute("INSERT INTO migrations VALUES (9999, 'from_the_future', '')")
    assert "has schema 9999, which a newer version" in migrated(*which, "--data", data, code=1).stderr


@pytest.mark.parametrize("which", [(), ("--plan", "--run")])
def test_either_plan_or_run_is_given(which, tmp_path):
    assert "Give either --plan or --run." in migrated(*which, "--data", tmp_path, code=2).stderr


def test_nothing_is_created_where_no_data_is(tmp_path):
    assert "There is no Waypost data" in migrated("--run", "--data", tmp_path / "data", code=1).stderr
    assert not (tmp_path / "data").exists()


def test_a_database_that_cannot_be_reached_is_named(tmp_path):
    at = ("--database", "postgresql://waypost@127.0.0.1:1/waypost", "--data", tmp_path)
    assert "PostgreSQL database waypost at 127.0.0.1:1 cannot be used" in migrated("--plan", *at, code=1).stderr


def opened(directory, url, **options):
    import asyncio

    async def main():
        store = opening.open_store(DataDirectory(directory), url, **options)
        await store.close()

    asyncio.run(main())


def test_a_server_that_must_not_migrate_does_not_start_on_an_older_database(url, tmp_path, monkeypatch):
    monkeypatch.setenv("WAYPOST_MASTER_KEY", MASTER_KEY)
    with pytest.raises(CannotStart, match=r"older version of Waypost\. .*Run `waypost migrate --run` of this version"):
        opened(tmp_path, url, migrates=False)
    migrated("--run", "--database", url, "--data", tmp_path)
    opened(tmp_path, url, migrates=False)


def test_a_server_that_must_not_migrate_creates_the_tables_of_an_empty_database(tmp_path, monkeypatch):
    monkeypatch.setenv("WAYPOST_MASTER_KEY", MASTER_KEY)
    url = postgresql.new_database()
    opened(tmp_path, url, migrates=False)
    assert "There is nothing to do." in migrated("--plan", "--database", url, "--data", tmp_path).stdout
    postgresql.drop_database(url)
