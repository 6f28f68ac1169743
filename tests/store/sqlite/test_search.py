"""Searching in SQLite: the indexes that a search uses, the cost of a page, and searching an old database.

The results of searches are tested for both stores in tests/store/contract/directory/test_search.py.
"""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import EVERYTHING
from tests.kit.stores.random_directory import INSTANCES, build
from tests.kit.values import NOW, TENANT, NoSeal, an_email_address, in_memory, make_instance
from waypost.api.operations.searching import FIELD_NAMES
from waypost.app.directory import email_addresses, instances
from waypost.domain.directory import search
from waypost.domain.directory.search import Comparison, Either, Every, Field, Tagged
from waypost.store import migrations
from waypost.store.sqlite import file as sqlite_file
from waypost.store.sqlite import search as sqlite_search
from waypost.store.sqlite import store as sqlite
from waypost.store.sqlite.transaction import SqliteTransaction

SEEDS = range(12)

PAGE = 4096 + 24
"""The size of a page in the write-ahead log, in bytes, with its header."""


@pytest.fixture(scope="module")
def directories():
    made = [build(in_memory(), seed) for seed in SEEDS]
    yield made
    for directory in made:
        directory.tx.connection.close()


def check_integrity(connection):
    """Raise an error if the trigrams do not match the search entries."""
    connection.execute("INSERT INTO search_texts (search_texts, rank) VALUES ('integrity-check', 1)")


def test_the_trigrams_match_the_search_entries(directories):
    for directory in directories:
        check_integrity(directory.tx.connection)


def test_deleting_an_instance_deletes_its_search_entries(tx):
    build(tx, 1)
    for instance_id, tenant in INSTANCES.items():
        instances.delete(tx, tenant, instance_id, now=NOW)
    while instances.remove_deleted(tx):
        pass
    check_integrity(tx.connection)
    for table in ("search_ranges", "search_entries", "search_texts", "tags"):
        assert tx.connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_no_change_of_an_entry_merges_much_of_the_index(tmp_path):
    """FTS5 would by default merge hundreds of pages in some transactions, and keep other writers waiting."""
    path = tmp_path / "waypost.sqlite3"
    with closing(sqlite_file.connect(path, "rwc")) as connection:
        sqlite_file.migrate(connection, where="the test")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA synchronous = OFF")
        tx = SqliteTransaction(connection, NoSeal())
        make_instance(tx)
        log, written = path.with_name(f"{path.name}-wal"), []
        for number in range(1_500):
            before = log.stat().st_size
            with sqlite_file.exclusively(connection):
                tx.add_email_address(an_email_address(f"{number * 7919:x}.{number}"), {})
            written.append((log.stat().st_size - before) // PAGE)
        assert max(written) < 100
        segments = "SELECT count(DISTINCT segid) FROM search_texts_idx"
        assert connection.execute(segments).fetchone()[0] < 20, "searches would have to read many segments"
        check_integrity(connection)


def contains(value):
    return search.text(Field.DESCRIPTION, Comparison.CONTAINS, value)


def text(name, comparison, value):
    return search.text(FIELD_NAMES[name], Comparison(comparison), value)


NUMBERS = "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
TRIGRAMS = "SCAN d VIRTUAL TABLE INDEX"
EXACT = "USING INDEX search_entries_by_{0} (range=? AND {0}_start=? AND number>? AND number<?)"
START = "USING INDEX search_entries_by_{0} (range=? AND {0}_start>?"
TAG = "USING COVERING INDEX tags_by_value (key=? AND value=? AND number>? AND number<?)"

A, ABC = ("STARTS_WITH", "a"), ("CONTAINS", "abc")
TAGGED = Tagged("key", "value")
PLANS = {
    "exact address": (text("emailAddress", "EXACT", "abc"), EXACT.format("address")),
    "exact name": (text("displayName", "EXACT", ""), EXACT.format("display_name")),
    "exact description": (text("description", "EXACT", "x" * 99), EXACT.format("description")),
    "exact id": (text("emailAddressId", "EXACT", "a"), "(email_address_id=?)"),
    "tag with its value": (TAGGED, TAG),
    "start of an address": (text("emailAddress", *A), START.format("address")),
    "start of a name": (text("displayName", *A), START.format("display_name")),
    "start of a description": (text("description", *A), START.format("description")),
    "start of an id": (text("emailAddressId", *A), "search_entries_by_id (range=? AND email_address_id>?"),
    "empty start": (text("displayName", "STARTS_WITH", ""), START.format("display_name")),
    "part of an address": (text("emailAddress", *ABC), TRIGRAMS),
    "part of a text": (contains("abc"), TRIGRAMS),
    "either of two parts": (Either((contains("abc"), text("emailAddress", "EXACT", "abc"))), TRIGRAMS),
    "a part that is too short for trigrams": (contains("ab"), NUMBERS),
    "either of two parts, one too short for trigrams": (Either((contains("abc"), contains("ab"))), NUMBERS),
    "part of an id": (text("emailAddressId", *ABC), NUMBERS),
    "tag with any value": (Tagged("key", None), NUMBERS),
    "everything": (EVERYTHING, NUMBERS),
    "an exact text before other conditions": (
        Every((EVERYTHING, contains("abc"), TAGGED, text("displayName", "EXACT", "a"))),
        EXACT.format("display_name"),
    ),
    "a tag before a start": (Every((text("displayName", *A), TAGGED)), TAG),
    "a start before a part": (Every((contains("abc"), text("displayName", *A))), START.format("display_name")),
}


def plan(connection, query, parameters):
    """Return the steps of a query plan by number: for each step, the number of its parent and its description."""
    found = connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters).fetchall()
    return {number: (parent, detail) for number, parent, _, detail in found}


def inside_the_page(steps):
    """Return the steps of the inner SELECTs, which read the rows of the page in order."""
    inner = {number for number, (_, detail) in steps.items() if detail.startswith("CO-ROUTINE")}
    return [detail for parent, detail in steps.values() if parent in inner]


@pytest.mark.parametrize("after", [None, '["abc", 4294967300]'], ids=["first-page", "later-page"])
@pytest.mark.parametrize(("condition", "index"), PLANS.values(), ids=PLANS)
def test_a_search_uses_an_index_and_does_not_sort_rows(tx, instance, condition, index, after):
    built = sqlite_search.Search(condition, 1)
    page = inside_the_page(plan(tx.connection, *built.page(after=after, limit=101)))
    assert [detail for detail in page if index in detail]
    assert not [detail for detail in page if "TEMP B-TREE" in detail]
    counted = plan(tx.connection, *built.count(up_to=10_000)).values()
    assert [detail for _, detail in counted if index in detail]
    assert not [detail for _, detail in counted if "TEMP B-TREE" in detail]


MANY = 2_000


@pytest.fixture(scope="module")
def large_instances():
    """A transaction with two instances, i and j, that have many email addresses each."""
    tx = in_memory()
    for instance_id in ("i", "j"):
        make_instance(tx, instance_id)
        for number in range(MANY):
            new = replace(an_email_address(f"{instance_id}{number:05}", instance_id), display_name=f"Name {number:05}")
            tx.add_email_address(replace(new, description="the same words"), {"key": "value"})
    yield tx
    tx.connection.close()


def cost(tx, condition, after):
    """Return the steps of SQLite's virtual machine for a page of 100 results, and the cursor of the next page."""
    steps = []
    tx.connection.set_progress_handler(lambda: steps.append(1), 1)
    page = tx.search(TENANT, "j", condition, after=after, limit=100, count_up_to=100)
    tx.connection.set_progress_handler(None, 0)
    return len(steps), page.next_after


PAGED = {
    "everything": EVERYTHING,
    "tag": Tagged("key", "value"),
    "exact": text("description", "EXACT", "the same words"),
    "part": contains("same"),
    "start": text("displayName", "STARTS_WITH", "name"),
    "start of equal texts": text("description", "STARTS_WITH", "the"),
}


@pytest.mark.parametrize(
    "condition",
    PAGED.values(),
    ids=PAGED,
)
def test_the_last_page_costs_about_as_much_as_the_first(large_instances, condition):
    first, after = cost(large_instances, condition, None)
    last = first
    for _ in range(MANY // 100 - 1):
        last, after = cost(large_instances, condition, after)
    assert after is None
    assert last < first * 1.5


@pytest.mark.parametrize("value", ["me", "1", "19"])
def test_the_total_of_a_search_that_reads_many_rows_is_estimated(large_instances, monkeypatch, value):
    condition = text("displayName", "CONTAINS", value)
    matching = sum(value in f"name {number:05}" for number in range(MANY))
    page = large_instances.search(TENANT, "j", condition, after=None, limit=1, count_up_to=MANY)
    assert page.total == matching
    monkeypatch.setattr(sqlite_search, "SAMPLE", 100)
    among_the_first = sum(value in f"name {number:05}" for number in range(100))
    page = large_instances.search(TENANT, "j", condition, after=None, limit=1, count_up_to=MANY)
    assert page.total == max(2, among_the_first * MANY // 100)


@pytest.fixture
def old_path(tmp_path):
    """The path of a database with the schema of the first migration, and an instance for each of two tenants."""
    path = tmp_path / "waypost.sqlite3"
    (first,) = (step for step in migrations.known("sqlite") if step.number == 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(first.sql)
        columns = "number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL"
        connection.execute(f"CREATE TABLE migrations ({columns}) STRICT")
        connection.execute("INSERT INTO migrations VALUES (1, 'initial', '')")
        row = "INSERT INTO instances VALUES (?, ?, ?, NULL, NULL, 'SAML', NULL, 1, 0, 0)"
        connection.executemany(row, [("i", "000000000000", "us-east-1"), ("k", "111111111111", "us-east-1")])
        texts = {"a": ("Straße", None), "b": (None, "For ALL"), "c": ("", ""), "d": ("Straße", "for all")}
        row = "INSERT INTO email_addresses VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)"
        connection.executemany(
            row,
            [
                (
                    name,
                    *(("k", "111111111111") if name == "d" else ("i", "000000000000")),
                    f"{name.upper()}@Example.com",
                    f"{name}@example.com",
                    *both,
                    9 - n,
                )
                for n, (name, both) in enumerate(texts.items())
            ],
        )
        link = "INSERT INTO alias_link_ends VALUES ('a', 'primary', 'b', 'alias', 0), ('b', 'alias', 'a', 'primary', 0)"
        connection.execute(link)
        connection.execute("INSERT INTO tags VALUES ('a', 'k', 'v'), ('i', 'k', 'v'), ('d', 'k', 'v')")
        connection.commit()
    return path


MIGRATED = {
    "everything": (EVERYTHING, ["c", "b", "a"]),
    "exact, in another letter case": (text("emailAddress", "EXACT", "a@EXAMPLE.com"), ["a"]),
    "start, in another letter case": (text("displayName", "STARTS_WITH", "STRASS"), ["a"]),
    "part, in another letter case": (contains("r AL"), ["b"]),
    "empty or missing": (text("displayName", "EXACT", ""), ["c", "b"]),
    "tag": (Tagged("k", "v"), ["a"]),
    "tag with any value": (Tagged("k", None), ["a"]),
    "id": (text("emailAddressId", "EXACT", "b"), ["b"]),
    "an email address of another instance": (text("emailAddress", "STARTS_WITH", "d@"), []),
}


def test_a_database_of_the_first_version_can_be_searched_after_its_migration(old_path):
    async def ask():
        store = sqlite.SqliteStore(old_path, NoSeal())
        try:
            found = {
                name: await store.long_read(
                    lambda tx, condition=condition: tx.search(
                        TENANT, "i", condition, after=None, limit=9, count_up_to=9
                    ),
                    what="the data of a test",
                )
                for name, (condition, _) in MIGRATED.items()
            }
            created = replace(an_email_address("e"), description="for ALL")
            await store.write(lambda tx: email_addresses.create(tx, TENANT, created, tags={"k": "v"}))
            tagged = await store.long_read(
                lambda tx: tx.search(TENANT, "i", Tagged("k", "v"), after=None, limit=9, count_up_to=9),
                what="the data of a test",
            )
            await store.write(lambda tx: check_integrity(tx.connection))
            return found, tagged
        finally:
            await store.close()

    found, tagged = asyncio.run(ask())
    for name, (_, ids) in MIGRATED.items():
        assert [each.id for each, _ in found[name].found] == ids, name
        assert found[name].total == len(ids), name
    assert [link is not None for _, link in found["everything"].found] == [False, True, True]
    assert [each.id for each, _ in tagged.found] == ["a", "e"]
