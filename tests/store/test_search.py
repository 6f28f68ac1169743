"""Searching in SQLite: it finds what the reference finds, page by page, at the same cost wherever the page is."""

import asyncio
import random
import sqlite3
import uuid
from contextlib import closing
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain import reference_search
from tests.values import NOW, TENANT, NoSeal, an_email_address, make_instance
from waypost.api.searching import FIELD_NAMES
from waypost.app import aliases, email_addresses, instances, ports, tags
from waypost.domain import addresses, search
from waypost.domain.instances import Tenant
from waypost.domain.search import Comparison, Either, Every, Field, Tagged
from waypost.store import migrations, sqlite, sqlite_file, sqlite_search

STRANGER = Tenant("111111111111", "us-east-1")
INSTANCES = {"i": TENANT, "j": TENANT, "k": STRANGER}
ALL = 1_000_000

LONG = "x" * 63
FRAGMENTS = [
    *("support", "Help", "HELP", "a", "ab", "abc", "Straße", "STRASSE", "İstanbul", "ΣΊΣΥΦΟΣ", "ς", "e\u0301", "É"),
    *("'", '"', '""', "%", "_", "*", " NEAR ", "AND", " OR ", "NOT", "(", ")", ":", "^", "-", "--", ";", "\\", "?1"),
    *("😀", "\u0301", "\ud7ff", "\ue000", "\ufffd", "\U0010ffff", "\U0010ffff\U0010ffff", "\n", " ", "{}", "\x01"),
    *(LONG, f"{LONG}x", f"{LONG}xy", f"{LONG}xz", f"{LONG}\U0010ffffa"),
]
LOCAL_PARTS = [
    "support",
    "Help",
    "o'brien",
    "straße",
    "100%",
    "a_b",
    "x*y",
    "e\u0301",
    "and",
    "not",
    "abc",
    "😀",
    LONG[:50],
]
DOMAINS = ["example.com", "EXAMPLE.org", "bücher.example", f"{LONG}.example", f"{LONG}.{LONG}.example"]
KEYS = ["team", "Team", "cost", "", "a'b", "ü"]
VALUES = ["", "blue", "Blue", "%", "😀"]

EVERYTHING = Every(())


@dataclass
class Directory:
    """A store's email addresses, and beside it what the reference judges by."""

    tx: ports.WriteTx
    chance: random.Random
    there: dict = field(default_factory=dict)
    """By id: the email address and its tags."""

    def create(self, address=None):
        chance = self.chance
        instance_id = chance.choice("iiijk") if address is None else "i"
        local, domain = chance.choice(LOCAL_PARTS), chance.choice(DOMAINS)
        new = replace(
            an_email_address("x", instance_id, INSTANCES[instance_id].account),
            id=str(uuid.UUID(int=chance.getrandbits(128))),
            address=address or addresses.parse(f"{local}{chance.randrange(10**6)}@{domain}"),
            display_name=chance.choice([None, self.text(), self.text()]),
            description=chance.choice([None, self.text(), self.text()]),
        )
        given_tags = {key: chance.choice(VALUES) for key in chance.sample(KEYS, chance.randrange(3))}
        email_addresses.create(self.tx, INSTANCES[instance_id], new, tags=given_tags)
        self.there[new.id] = (new, given_tags)
        return new

    def text(self):
        return "".join(self.chance.choices(FRAGMENTS, k=self.chance.randrange(4)))

    def update(self, email_address_id):
        before, own_tags = self.there[email_address_id]
        texts = {name: self.chance.choice([None, "", self.text()]) for name in ("display_name", "description")}
        tenant = INSTANCES[before.instance_id]
        email_addresses.update_metadata(self.tx, tenant, before.instance_id, before.id, **texts, now=NOW)
        self.there[email_address_id] = (before.with_texts(**texts, now=NOW), own_tags)

    def tag(self, email_address_id):
        found, own_tags = self.there[email_address_id]
        resource, tenant = tags.Resource(found.instance_id, found.id), INSTANCES[found.instance_id]
        new, gone = {self.chance.choice(KEYS): self.chance.choice(VALUES)}, self.chance.choice(KEYS)
        tags.add(self.tx, tenant, resource, new)
        tags.remove(self.tx, tenant, resource, [gone])
        self.there[email_address_id] = (found, {k: v for k, v in {**own_tags, **new}.items() if k != gone})

    def delete(self, email_address_id):
        found, _ = self.there.pop(email_address_id)
        email_addresses.delete(self.tx, INSTANCES[found.instance_id], found.instance_id, found.id)
        return found

    def delete_and_create_again(self, email_address_id):
        gone = self.delete(email_address_id)
        if gone.instance_id == "i":
            self.create(gone.address)

    def ids(self, instance_id="i"):
        return [key for key, (found, _) in self.there.items() if found.instance_id == instance_id]

    def matching(self, condition, instance_id):
        return {key for key in self.ids(instance_id) if reference_search.fulfils(condition, *self.there[key])}

    def page(self, condition, *, after=None, limit=ALL, instance_id="i"):
        return email_addresses.search_page(
            self.tx, INSTANCES[instance_id], instance_id, condition, after=after, limit=limit, count_up_to=ALL
        )


def build(seed):
    """A directory with a history: what a seed makes of thirty email addresses."""
    chance = random.Random(seed)
    directory = Directory(sqlite_file.in_memory(NoSeal()), chance)
    for instance_id, tenant in INSTANCES.items():
        make_instance(directory.tx, instance_id, tenant)
        tags.add(directory.tx, tenant, tags.Resource(instance_id), {"team": "blue", "cost": ""})
    for _ in range(34):
        directory.create()
    for change in (directory.update, directory.tag, directory.delete_and_create_again, directory.update, directory.tag):
        for email_address_id in chance.sample(sorted(directory.there), 6):
            change(email_address_id)
    for email_address_id in chance.sample(sorted(directory.there), 4):
        directory.delete(email_address_id)
    linked = sorted(directory.ids())[:2]
    aliases.associate(directory.tx, TENANT, "i", primary_id=linked[0], alias_id=linked[1], now=NOW)
    return directory


SEEDS = range(12)


@pytest.fixture(scope="module")
def directories():
    made = {seed: build(seed) for seed in SEEDS}
    yield made
    for directory in made.values():
        directory.tx.connection.close()


def folded_texts(directory):
    return sorted({read(found) for found, _ in directory.there.values() for read in reference_search.TEXTS.values()})


def part(text, start, length, change):
    start %= len(text) + 1
    return change(text[start : start + length])


def conditions(directory):
    """Trees of conditions on what this directory has, and on what it might have."""
    parts = st.builds(
        part,
        st.sampled_from(folded_texts(directory)),
        st.just(0) | st.integers(0, 200),
        st.integers(0, 4) | st.just(5000),
        st.sampled_from([str, str.upper]),
    )
    values = parts | st.sampled_from(["", *FRAGMENTS]) | st.tuples(parts, st.sampled_from(FRAGMENTS)).map("".join)
    texts = st.builds(search.text, st.sampled_from(Field), st.sampled_from(Comparison), values)
    tagged = st.builds(Tagged, st.sampled_from(KEYS), st.none() | st.sampled_from(VALUES))

    def groups(inner):
        return st.builds(
            lambda kind, of: kind(tuple(of)), st.sampled_from([Every, Either]), st.lists(inner, max_size=3)
        )

    return st.recursive(texts | texts | tagged, groups, max_leaves=6)


def walked(directory, condition, sizes, between=lambda: None, instance_id="i"):
    """The ids of all pages, one behind the other."""
    ids, after = [], None
    while True:
        page = directory.page(condition, after=after, limit=sizes.randint(1, 9), instance_id=instance_id)
        ids += [found.id for found, _ in page.found]
        after = page.next_after
        if after is None:
            return ids
        between()


CHANCES = st.integers(1000, 2**32).map(random.Random)
"""None of them the one that a directory was built with, or it would make the same email addresses again."""

searches = settings(max_examples=200, deadline=None, database=None)


@searches
@given(data=st.data(), seed=st.sampled_from(SEEDS), sizes=CHANCES)
def test_a_search_finds_what_the_reference_finds_whole_and_in_pages(directories, data, seed, sizes):
    directory = directories[seed]
    condition = data.draw(conditions(directory))
    for instance_id in INSTANCES:
        page = directory.page(condition, instance_id=instance_id)
        wanted = directory.matching(condition, instance_id)
        assert {found.id for found, _ in page.found} == wanted
        assert page.total == len(page.found) == len(wanted)
        assert [found.id for found, _ in page.found] == walked(directory, condition, sizes, instance_id=instance_id)
        assert all(directory.there[found.id][0] == found for found, _ in page.found)


@settings(searches, max_examples=60)
@given(data=st.data(), seed=st.sampled_from(SEEDS), sizes=CHANCES)
def test_what_is_there_all_the_time_comes_once_while_others_come_and_go(directories, data, seed, sizes):
    original = directories[seed]
    condition = data.draw(conditions(original) | st.just(EVERYTHING))
    directory = Directory(original.tx, sizes, dict(original.there))
    before = directory.matching(condition, "i")
    times = iter(range(15))  # or those who come might be more than those on a page, for ever

    def disturb():
        if next(times, None) is None:
            return
        for _ in range(2):
            if found := directory.ids():
                directory.chance.choice([directory.delete, directory.delete_and_create_again])(sizes.choice(found))
            directory.create()

    connection = original.tx.connection
    connection.execute("BEGIN")
    try:
        ids = walked(directory, condition, sizes, between=disturb)
    finally:
        connection.execute("ROLLBACK")
    assert len(ids) == len(set(ids))
    assert before & set(directory.ids()) <= set(ids)


def test_what_is_found_comes_with_its_link(directories):
    directory = directories[0]
    primary, alias = sorted(directory.ids())[:2]
    links = {found.id: link for found, link in directory.page(EVERYTHING).found}
    assert {email_address_id for email_address_id, link in links.items() if link} == {primary, alias}
    assert links[primary].alias_of(primary) == alias
    assert links[primary] == links[alias]


def test_an_instance_of_nobody_s_and_one_of_another_tenant_s_are_not_searched(directories):
    tx = directories[0].tx
    for tenant, instance_id in (
        (TENANT, "k"),
        (STRANGER, "i"),
        (TENANT, "nobody"),
        (Tenant("000000000000", "eu-west-1"), "i"),
    ):
        assert tx.search(tenant, instance_id, EVERYTHING, after=None, limit=10, count_up_to=10) is None


def test_the_total_is_counted_as_far_as_was_asked(directories):
    directory = directories[0]
    page = directory.tx.search(TENANT, "i", EVERYTHING, after=None, limit=1, count_up_to=5)
    assert (len(page.found), page.total) == (1, 5)


def test_an_instance_without_email_addresses_has_one_empty_page(tx, instance):
    page = tx.search(TENANT, "i", EVERYTHING, after=None, limit=1, count_up_to=5)
    assert page == ports.SearchPage([], 0, None)


def check_integrity(connection):
    """Raises if the trigrams are not those of the entries."""
    connection.execute("INSERT INTO search_texts (search_texts, rank) VALUES ('integrity-check', 1)")


def test_the_trigrams_stay_in_step(directories):
    for directory in directories.values():
        check_integrity(directory.tx.connection)


def test_nothing_to_search_is_left_of_an_instance(tx):
    directory = Directory(tx, random.Random(1))
    for instance_id, tenant in INSTANCES.items():
        make_instance(tx, instance_id, tenant)
    for _ in range(10):
        directory.create()
    for instance_id, tenant in INSTANCES.items():
        instances.delete(tx, tenant, instance_id, now=NOW)
    check_integrity(tx.connection)
    for table in ("search_ranges", "search_entries", "search_texts", "tags"):
        assert tx.connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


STARTS = [
    "",
    "a",
    "a\ud7ff",
    "\ud7ff",
    "\ud7ff\U0010ffff",
    "\ue000",
    "\U0010ffff",
    "\U0010ffff" * 2,
    "z\U0010ffff",
    LONG,
]


def test_a_start_of_any_characters_finds_what_starts_with_it(tx, instance):
    directory = Directory(tx, random.Random(1))
    ends = ["", "a", "\ud7ff", "\ue000", "\U0010ffff"]
    for number, display_name in enumerate(start + end for start in STARTS for end in ends):
        new = replace(an_email_address(f"e{number}"), display_name=display_name)
        email_addresses.create(tx, TENANT, new, tags={})
        directory.there[new.id] = (new, {})
    for start in STARTS:
        condition = search.text(Field.DISPLAY_NAME, Comparison.STARTS_WITH, start)
        assert {found.id for found, _ in directory.page(condition).found} == directory.matching(condition, "i")


PIECES = [*FRAGMENTS, "", "a%", "a_", "a*", "?", "[a]", f"{LONG}x\U0010ffff", "or", "and ("]


@pytest.fixture(scope="module")
def pieces():
    """A directory in which every piece is a display name, and stands in the middle of a description."""
    directory = Directory(sqlite_file.in_memory(NoSeal()), random.Random(1))
    make_instance(directory.tx)
    for number, piece in enumerate(PIECES):
        new = replace(an_email_address(f"e{number}"), display_name=piece, description=f"abc{piece}abc")
        email_addresses.create(directory.tx, TENANT, new, tags={})
        directory.there[new.id] = (new, {})
    yield directory
    directory.tx.connection.close()


@pytest.mark.parametrize("alone", [True, False], ids=["drives", "filters"])
@pytest.mark.parametrize("comparison", Comparison)
def test_a_value_is_a_text_and_no_pattern(pieces, comparison, alone):
    for piece in PIECES:
        for name, value in (("displayName", piece), ("description", f"abc{piece}"), ("description", f"bc{piece}ab")):
            one = search.text(FIELD_NAMES[name], comparison, value)
            condition = one if alone else Either((one, Tagged("key", None)))
            assert {found.id for found, _ in pieces.page(condition).found} == pieces.matching(condition, "i"), value


def contains(value):
    return search.text(Field.DESCRIPTION, Comparison.CONTAINS, value)


@pytest.mark.parametrize(
    ("there", "wanted"), [("abc\ufffd", "abc\ufffe"), ("abc\uffff", "abc\ufffd"), ("ab\ufffe", "ab\uffff")]
)
def test_characters_that_the_trigrams_do_not_tell_apart_are_told_apart(tx, instance, there, wanted):
    email_addresses.create(tx, TENANT, replace(an_email_address("a"), description=there), tags={})
    page = tx.search(TENANT, "i", contains(wanted), after=None, limit=10, count_up_to=10)
    assert page.found == []


@pytest.mark.parametrize("end", ["", "b"], ids=["there", "not there"])
def test_a_long_part_is_compared_to_its_end(tx, instance, end):
    long = "ab" * 2_000
    email_addresses.create(tx, TENANT, replace(an_email_address("a"), description=f"x{long}"), tags={})
    page = tx.search(TENANT, "i", contains(long + end), after=None, limit=10, count_up_to=10)
    assert (len(page.found), page.total) == ((1, 1) if not end else (0, 0))


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
    "part that is too short for trigrams": (contains("ab"), NUMBERS),
    "either, one of which is too short": (Either((contains("abc"), contains("ab"))), NUMBERS),
    "part of an id": (text("emailAddressId", *ABC), NUMBERS),
    "tag with any value": (Tagged("key", None), NUMBERS),
    "everything": (EVERYTHING, NUMBERS),
    "exact before all else": (
        Every((EVERYTHING, contains("abc"), TAGGED, text("displayName", "EXACT", "a"))),
        EXACT.format("display_name"),
    ),
    "a tag before a start": (Every((text("displayName", *A), TAGGED)), TAG),
    "a start before a part": (Every((contains("abc"), text("displayName", *A))), START.format("display_name")),
}


def plan(connection, query, parameters):
    """The steps of a query: what each says, and inside which other."""
    found = connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters).fetchall()
    return {number: (parent, detail) for number, parent, _, detail in found}


def inside_the_page(steps):
    """The steps of the inner selects, which get the rows of the page in order."""
    inner = {number for number, (_, detail) in steps.items() if detail.startswith("CO-ROUTINE")}
    return [detail for parent, detail in steps.values() if parent in inner]


@pytest.mark.parametrize("after", [None, '["abc", 4294967300]'], ids=["first-page", "later-page"])
@pytest.mark.parametrize(("condition", "index"), PLANS.values(), ids=PLANS)
def test_a_search_follows_an_index_and_sorts_no_more_than_its_page(tx, instance, condition, index, after):
    wanted = sqlite_search.Search(condition, 1)
    page = inside_the_page(plan(tx.connection, *wanted.page(after=after, limit=101)))
    assert [detail for detail in page if index in detail]
    assert not [detail for detail in page if "TEMP B-TREE" in detail]
    counted = plan(tx.connection, *wanted.count(up_to=10_000)).values()
    assert [detail for _, detail in counted if index in detail]
    assert not [detail for _, detail in counted if "TEMP B-TREE" in detail]


MANY = 2_000


@pytest.fixture(scope="module")
def crowd():
    """An instance of many, and a second one with as many."""
    tx = sqlite_file.in_memory(NoSeal())
    for instance_id in ("i", "j"):
        make_instance(tx, instance_id)
        for number in range(MANY):
            new = replace(an_email_address(f"{instance_id}{number:05}", instance_id), display_name=f"Name {number:05}")
            tx.add_email_address(replace(new, description="the same words"), {"key": "value"})
    yield tx
    tx.connection.close()


def cost(tx, condition, after):
    """The steps of SQLite's machine for a page of a hundred, and where the next one begins."""
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
    "start of the same texts": text("description", "STARTS_WITH", "the"),
}


@pytest.mark.parametrize(
    "condition",
    PAGED.values(),
    ids=PAGED,
)
def test_a_late_page_costs_no_more_than_the_first(crowd, condition):
    first, after = cost(crowd, condition, None)
    last = first
    for _ in range(MANY // 100 - 1):
        last, after = cost(crowd, condition, after)
    assert after is None
    assert last < first * 1.5


@pytest.mark.parametrize("value", ["me", "1", "19"])
def test_where_a_search_has_to_walk_the_total_is_estimated_from_the_first_entries(crowd, monkeypatch, value):
    condition = text("displayName", "CONTAINS", value)
    matching = sum(value in f"name {number:05}" for number in range(MANY))
    page = crowd.search(TENANT, "j", condition, after=None, limit=1, count_up_to=MANY)
    assert page.total == matching
    monkeypatch.setattr(sqlite_search, "SAMPLE", 100)
    among_the_first = sum(value in f"name {number:05}" for number in range(100))
    page = crowd.search(TENANT, "j", condition, after=None, limit=1, count_up_to=MANY)
    assert page.total == max(2, among_the_first * MANY // 100)


@pytest.mark.parametrize(
    "condition",
    [
        EVERYTHING,
        Tagged("key", "value"),
        contains("words"),
        text("description", "STARTS_WITH", "w"),
        text("description", "EXACT", "words"),
        contains("w"),
        Tagged("key", None),
    ],
    ids=["everything", "tag", "part", "start", "exact", "short part", "tag of any value"],
)
def test_the_page_behind_all_that_is_gone_is_empty(tx, instance, condition):
    for name in "ab":
        new = replace(an_email_address(name), description="words")
        email_addresses.create(tx, TENANT, new, tags={"key": "value"})
    first = tx.search(TENANT, "i", condition, after=None, limit=1, count_up_to=10)
    for name in "ab":
        email_addresses.delete(tx, TENANT, "i", name)
    page = tx.search(TENANT, "i", condition, after=first.next_after, limit=1, count_up_to=10)
    assert page == ports.SearchPage([], 0, None)


@pytest.fixture
def old_path(tmp_path):
    """A database as the first migration made it, with an instance of each of two tenants."""
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
                    "k" if name == "d" else "i",
                    "",
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
    "exact, in other letters": (text("emailAddress", "EXACT", "a@EXAMPLE.com"), ["a"]),
    "start, in other letters": (text("displayName", "STARTS_WITH", "STRASS"), ["a"]),
    "part, in other letters": (contains("r AL"), ["b"]),
    "empty or never given": (text("displayName", "EXACT", ""), ["c", "b"]),
    "tag": (Tagged("k", "v"), ["a"]),
    "tag with any value": (Tagged("k", None), ["a"]),
    "id": (text("emailAddressId", "EXACT", "b"), ["b"]),
    "what another instance has": (text("emailAddress", "STARTS_WITH", "d@"), []),
}


def test_a_database_of_before_can_be_searched(old_path):
    async def ask():
        store = sqlite.SqliteStore(old_path, NoSeal())
        try:
            found = {
                name: await store.search(
                    lambda tx, condition=condition: tx.search(
                        TENANT, "i", condition, after=None, limit=9, count_up_to=9
                    )
                )
                for name, (condition, _) in MIGRATED.items()
            }
            created = replace(an_email_address("e"), description="for ALL")
            await store.write(lambda tx: email_addresses.create(tx, TENANT, created, tags={"k": "v"}))
            tagged = await store.search(
                lambda tx: tx.search(TENANT, "i", Tagged("k", "v"), after=None, limit=9, count_up_to=9)
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
