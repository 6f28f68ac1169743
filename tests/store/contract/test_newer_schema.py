"""A database that a newer version has migrated: the previous version can use it, and older versions refuse it."""

import pytest

from tests.kit.stores.both_stores import ENGINES, Handle, open_and_close
from tests.kit.values import make_instance
from waypost.store import migrations

known = migrations.known

ADDED = "-- Something more.\n-- kind: transaction\nCREATE TABLE more{number} (a TEXT);\n"
REMOVED = "-- Something less.\n-- kind: transaction\n-- needs: {needs}\nDROP TABLE more{number};\n"


@pytest.fixture
def version(engine, monkeypatch):
    """A function that turns this program into another version, which knows additional migrations."""

    def of(number, *more):
        steps = [migrations.parsed(where, "more", sql) for where, sql in more]
        monkeypatch.setattr(migrations.waypost, "__version__", number)
        monkeypatch.setattr(migrations, "known", lambda dialect: [*known(dialect), *steps])

    return of


@pytest.fixture
def last(engine):
    return known(engine.name)[-1].number


def test_the_previous_version_starts_on_a_database_to_which_a_newer_version_has_only_added_something(
    engine, database, version, last
):
    version("9.9.1", (last + 1, ADDED.format(number=1)))
    open_and_close(engine, database)
    version("9.9.0")
    open_and_close(engine, database)
    handle = Handle(engine, database)
    handle.write(make_instance)
    handle.close()


def test_a_version_that_uses_what_a_newer_version_has_removed_is_refused(engine, database, version, last):
    added, removed = (last + 1, ADDED.format(number=1)), (last + 2, REMOVED.format(number=1, needs=last + 1))
    version("9.9.2", added, removed)
    open_and_close(engine, database)
    version("9.9.1", added)
    open_and_close(engine, database)
    version("9.9.0")
    for options in ({}, {"only_new": True}):
        with pytest.raises(migrations.SchemaTooNew) as refused:
            open_and_close(engine, database, **options)
        message = str(refused.value)
        assert f"has schema {last + 2}, which Waypost 9.9.2 has made, but this is Waypost 9.9.0" in message
        assert f"only up to {last}. Use Waypost 9.9.2 or a newer one." in message
        assert "restore the backup that you made before the upgrade" in message


def test_a_database_of_which_nobody_knows_who_can_use_it_is_refused(engine, database, last):
    engine.execute(database, "INSERT INTO migrations VALUES (9999, 'from_the_future', CURRENT_TIMESTAMP)")
    with pytest.raises(migrations.SchemaTooNew, match=r"has schema 9999, which a newer version of Waypost has made"):
        open_and_close(engine, database)


def test_the_newest_migration_is_recorded_with_this_version(engine, empty, last):
    open_and_close(engine, empty)
    handle = Handle(engine, empty)
    found = handle.rows("SELECT number, waypost, needs FROM migration_versions ORDER BY number")
    handle.close()
    assert found == [(number, migrations.waypost.__version__, 0) for number in range(FIRST[engine.name], last + 1)]


FIRST = {dialect: last + 1 for dialect, last in migrations.LAST_OF_0_1_0.items()}


@pytest.mark.parametrize("dialect", ENGINES)
def test_the_newest_migration_of_version_0_1_0_is_known(dialect):
    names = {step.number: step.name for step in known(dialect)}
    assert names[migrations.LAST_OF_0_1_0[dialect]] == "mail_by_reason"
