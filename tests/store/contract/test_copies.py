"""Copies from each store to the other: all rows are equal, an interrupted copy continues, and other targets are
refused.
"""

import shutil

import pytest

from tests.kit.stores import postgresql
from tests.kit.stores.both_stores import ENGINES, Handle
from tests.kit.stores.calls import create
from tests.kit.stores.content import COUNTED_TO, ROWS, fill, rows_of
from tests.kit.stores.time_limits import set_limits
from tests.kit.values import TENANT, NoSeal
from waypost.app import ports
from waypost.app.directory import email_addresses
from waypost.domain import errors
from waypost.domain.directory import search
from waypost.domain.directory.search import Comparison, Every, Field
from waypost.server import copies
from waypost.server.opening import Refused
from waypost.store import migrations
from waypost.store.common import copying
from waypost.store.migrations import SchemaTooNew, SchemaTooOld
from waypost.store.postgres import copies as postgres_copies
from waypost.store.sqlite import copies as sqlite_copies

MODULES = {"sqlite": sqlite_copies, "postgres": postgres_copies}

HI = {"sqlite": "x'6869'", "postgres": "'hi'::bytea"}

INCOMPLETE = "has an incomplete copy of another database. Run `waypost copy` again"
OTHER_DATA = "is not empty: it has the tables|is not an incomplete copy of this data. Name a new directory"


class Interrupted(Exception):
    """The copy ends here."""


class Stores:
    """A database with content, and the engine of its copy."""

    def __init__(self, engine, other, database):
        self.engine, self.other, self.database = engine, other, database
        self._made = [(engine, database)]

    def target(self, engine=None):
        """Return an empty database for a copy."""
        engine = engine or self.other
        self._made.append((engine, engine.empty()))
        return self._made[-1][1]

    def copy(self, target, report=lambda *_: None):
        """Copy the database to a target."""
        return copy(self.engine, self.database, self.other, target, report)

    def close(self):
        for engine, database in self._made:
            engine.drop(database)


def copy(engine, database, other, target, report=lambda *_: None):
    with (
        MODULES[engine.name].source(database, NoSeal()) as (original, deployment_id),
        MODULES[other.name].target(target, deployment_id) as made,
    ):
        return copies.fill(original, made, report, "Begin again.")


@pytest.fixture(scope="module")
def both(_engines):
    """Both engines by name."""
    for name, make in ENGINES.items():
        _engines.setdefault(name, None)
        _engines[name] = _engines[name] or make()
    return _engines


@pytest.fixture(scope="module")
def filled(both, engine):
    """A function that returns a new database with content."""
    if engine.name == "postgres":

        def make(url):
            engine.migrate(url)
            fill(engine, url)

        template = postgresql.template_database("content", make)
        yield lambda: postgresql.new_database(template)
        return
    first = engine.fresh()
    fill(engine, first)

    def again():
        database = engine.empty()
        shutil.copy(first, database)
        return database

    yield again
    engine.drop(first)


@pytest.fixture
def stores(both, engine, filled):
    (other,) = [one for one in both.values() if one is not engine]
    found = Stores(engine, other, filled())
    yield found
    found.close()


@pytest.fixture
def few_rows(monkeypatch):
    """Copy a few rows at a time."""
    monkeypatch.setattr(copying, "ROWS_AT_ONCE", 7)


# What a copy has


def test_a_copy_and_its_copy_back_have_the_same_rows(stores, few_rows):
    target, back = stores.target(), stores.target(stores.engine)
    told = []
    made = stores.copy(target, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > made.rows
    expected = rows_of(stores.engine, stores.database)
    assert rows_of(stores.other, target) == expected
    assert {name: one.rows for name, one in made.tables.items()} == {name: len(expected[name]) for name in made.tables}
    assert all(expected.values())
    copy(stores.other, target, stores.engine, back)
    assert rows_of(stores.engine, back) == expected


def test_every_table_is_copied_or_is_not_for_a_reason(stores):
    with MODULES[stores.engine.name].source(stores.database, NoSeal()) as (original, _):
        copied = original.tables().keys()
    assert copied == rows_of(stores.engine, stores.database).keys() - {"search_entries in their order"}
    assert not copied & copying.NOT_COPIED.keys()
    assert copied >= ROWS.keys()
    every = set().union(*map(migrations.tables, ENGINES)) - {"message_pieces"}
    assert every - copied == copying.NOT_COPIED.keys()


@pytest.mark.slow
def test_numbers_continue_after_the_last_ones_of_the_original(stores):
    target = stores.target()
    stores.copy(target)
    stores.other.execute(
        target,
        "INSERT INTO mail_changes (account, message_id, email_address_id, kind, at, event)"
        " VALUES ('', '', '', '', 5, 5)",
        "INSERT INTO refusals (at, peer, helo, sender, recipient, recipient_key, stage, reply, detail)"
        " VALUES (5, '', '', '', '', '', 'rcpt', '', '')",
    )
    handle = Handle(stores.other, target)
    assert handle.rows("SELECT max(number) FROM mail_changes") == [(COUNTED_TO + 1,)]
    assert handle.rows("SELECT max(number) FROM refusals") == [(8,)]
    # Words are stored differently, so the background job indexes the mail again.
    assert handle.rows("SELECT number FROM mail_entries WHERE NOT is_indexed ORDER BY 1") == [(1 << 20,), (9 << 20,)]
    assert handle.count("mail_words") == {"mail_words": 0}
    handle.close()


def found(handle, *conditions):
    """Return the ids of the email addresses that a search finds, in the order of their numbers."""
    page = handle.long_read(
        email_addresses.search_page, TENANT, "i", Every(conditions), after=None, limit=1000, count_up_to=1000
    )
    return [one.id for one, _ in page.found]


@pytest.mark.long
@pytest.mark.slow
def test_searches_find_the_same_in_a_copy_and_what_is_added_later(stores):
    target = stores.target()
    stores.copy(target)
    original, made = Handle(stores.engine, stores.database), Handle(stores.other, target)
    contains = search.text(Field.ADDRESS, Comparison.CONTAINS, "ampl")
    assert found(made) == found(original) != []
    assert found(made, contains) == found(original, contains) != []
    create(made, "zebra")
    assert found(made, search.text(Field.ADDRESS, Comparison.CONTAINS, "ebra")) == ["zebra"]
    assert found(made) == [*found(original), "zebra"]
    for handle in (original, made):
        handle.close()


@pytest.mark.long
@pytest.mark.slow
def test_a_page_token_of_the_original_is_refused_by_the_copy(stores):
    target = stores.target()
    stores.copy(target)
    original, made = Handle(stores.engine, stores.database), Handle(stores.other, target)

    def page(handle, after):
        return handle.long_read(
            email_addresses.search_page, TENANT, "i", Every(()), after=after, limit=2, count_up_to=2
        )

    with pytest.raises(errors.Invalid, match="NextToken was returned by a server with another database"):
        page(made, page(original, None).next_after)
    for handle in (original, made):
        handle.close()


# Interruptions


@pytest.mark.long
@pytest.mark.slow
def test_a_copy_that_is_interrupted_after_each_part_continues_there(stores, few_rows):
    target = stores.target()
    parts = 0

    def interrupt():
        told = []

        def report(done, total):
            told.append(done)
            if len(told) > 1 and done < total / 2:  # before the comparison
                raise Interrupted

        return report

    while True:
        try:
            stores.copy(target, interrupt())
            break
        except Interrupted:
            parts += 1
            assert parts < 1_000
            with pytest.raises(SchemaTooNew, match=INCOMPLETE):
                Handle(stores.other, target)
    assert parts > 60
    assert rows_of(stores.other, target) == rows_of(stores.engine, stores.database)
    new = stores.other.fresh()
    assert stores.other.catalogue(target) == stores.other.catalogue(new)
    stores.other.drop(new)


def interrupted_before_the_comparison(stores, target):
    def report(done, total):
        if done >= total / 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        stores.copy(target, report)


@pytest.mark.slow
def test_a_copy_with_other_rows_is_never_completed(stores):
    target = stores.target()
    interrupted_before_the_comparison(stores, target)
    stores.other.execute(
        target,
        "UPDATE messages SET subject = 'other' WHERE id = 'm3'",
        "DELETE FROM trace_events WHERE number = 0",
        f"UPDATE routes SET sealed_secret = {HI[stores.other.name]} WHERE number = 1",
    )
    other = r"\(rows with other values\)"
    named = rf"messages {other}, routes {other}, trace_events \(1 rows instead of 2\)"
    for _ in range(2):
        with pytest.raises(Refused, match=rf"^The copy is not equal to the original in {named}\. Either a server has"):
            stores.copy(target)
    with pytest.raises(SchemaTooNew, match=INCOMPLETE):
        Handle(stores.other, target)


@pytest.mark.long
@pytest.mark.slow
def test_another_order_of_email_addresses_is_found(stores):
    target = stores.target()
    interrupted_before_the_comparison(stores, target)
    if stores.other.name == "postgres":
        stores.other.execute(target, "ALTER TABLE search_entries ALTER number SET GENERATED BY DEFAULT")
    first = "(SELECT min(number) FROM search_entries)"
    stores.other.execute(target, f"UPDATE search_entries SET number = number + 5000 WHERE number = {first}")
    with pytest.raises(Refused, match=r"not equal to the original in search_entries \(rows with other values\)"):
        stores.copy(target)


@pytest.mark.slow
def test_a_change_of_the_original_between_two_parts_is_found(stores):
    target = stores.target()
    interrupted_before_the_comparison(stores, target)
    stores.engine.execute(stores.database, "UPDATE email_addresses SET description = 'other'")
    with pytest.raises(Refused, match=r"not equal to the original in email_addresses \(rows with other values\)"):
        stores.copy(target)


# Refusals


def test_a_target_with_other_data_is_refused_and_not_changed(stores):
    target = stores.other.fresh()
    before = rows_of(stores.other, target)
    with pytest.raises(ports.StoreUnavailable, match=OTHER_DATA):
        stores.copy(target)
    assert rows_of(stores.other, target) == before
    stores.other.drop(target)


@pytest.mark.slow
def test_an_incomplete_copy_of_another_deployment_is_refused(stores):
    target = stores.target()
    with MODULES[stores.other.name].target(target, "another"):
        pass
    with pytest.raises(ports.StoreUnavailable, match=OTHER_DATA):
        stores.copy(target)


@pytest.mark.long
@pytest.mark.slow
def test_a_complete_copy_is_not_copied_to_again(stores):
    target = stores.target()
    stores.copy(target)
    with pytest.raises(ports.StoreUnavailable, match=OTHER_DATA):
        stores.copy(target)


def test_an_original_with_an_older_schema_is_refused(stores):
    stores.engine.execute(stores.database, "DELETE FROM migrations WHERE number = (SELECT max(number) FROM migrations)")
    with pytest.raises(SchemaTooOld, match="First run `waypost migrate --run` of this version"):
        stores.copy("no target is opened")


@pytest.mark.slow
def test_rows_that_refer_to_missing_rows_are_refused_by_postgresql(stores):
    if stores.engine.name != "sqlite":
        pytest.skip("PostgreSQL checks each reference itself")
    stores.engine.execute(stores.database, "DELETE FROM messages WHERE id = 'm1'")
    with pytest.raises(ports.StoreUnavailable, match=r"did not take the data: .* of deliveries_have_a_message\. Eith"):
        stores.copy(stores.target())


def test_a_database_that_servers_use_is_not_copied(stores, monkeypatch):
    if stores.engine.name != "postgres":
        pytest.skip("the lock of the data directory shows whether a server uses an SQLite file")
    set_limits(monkeypatch, held_row=0)
    handle = Handle(stores.engine, stores.database)
    handle.count("queue")
    with pytest.raises(ports.StoreUnavailable, match=r"is used by servers: \d+ sessions? of Waypost. Stop all servers"):
        stores.copy("no target is opened")
    handle.close()


def test_nobody_writes_to_postgresql_while_it_is_copied(stores):
    if stores.engine.name != "postgres":
        pytest.skip("the lock of the data directory keeps servers from an SQLite file")
    with (
        postgres_copies.source(stores.database, NoSeal()),
        pytest.raises(postgres_copies.psycopg.errors.LockNotAvailable),
    ):
        stores.engine.execute(stores.database, "SET lock_timeout = '1ms'", "DELETE FROM queue")
