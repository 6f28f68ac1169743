"""Searching on both stores: a search finds the same as the reference, in one or more pages, even during changes."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.kit.examples import examples
from tests.kit.stores.both_stores import Handle
from tests.kit.stores.calls import EVERYTHING, create, creating, deleting
from tests.kit.stores.random_directory import FRAGMENTS, INSTANCES, LONG, OTHER_TENANT, Directory, build, conditions
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from waypost.api.operations.searching import FIELD_NAMES
from waypost.app import ports
from waypost.app.directory import email_addresses, instances
from waypost.domain.directory import search
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.search import Comparison, Either, Field, Tagged

SEEDS = range(4)


@pytest.fixture(scope="module")
def directories(engine):
    """A store for each seed, with the random directory that the seed generated."""
    handles = [Handle(engine, engine.fresh()) for _ in SEEDS]
    yield [(handle, handle.write(build, seed)) for seed, handle in zip(SEEDS, handles, strict=True)]
    for handle in handles:
        handle.close()
        engine.drop(handle.database)


CHANCES = st.integers(1000, 2**32).map(random.Random)
"""Random generators with other seeds than the directories have, so that they make different email addresses."""

searches = settings(max_examples=examples(30), deadline=None, database=None)


@searches
@given(data=st.data(), seed=st.sampled_from(SEEDS), sizes=CHANCES)
def test_a_search_finds_the_same_as_the_reference_in_one_page_and_in_several(directories, data, seed, sizes):
    store, directory = directories[seed]
    condition = data.draw(conditions(directory))

    def read(tx):
        here = directory.on(tx)
        return [
            (here.page(condition, instance_id=each), here.walked(condition, sizes, instance_id=each))
            for each in INSTANCES
        ]

    for instance_id, (page, walked) in zip(INSTANCES, store.long_read(read), strict=True):
        expected = directory.matching(condition, instance_id)
        assert {found.id for found, _ in page.found} == expected
        assert page.total == len(page.found) == len(expected)
        assert [found.id for found, _ in page.found] == walked
        assert all(directory.there[found.id][0] == found for found, _ in page.found)


class _Rollback(Exception):
    pass


@settings(searches, max_examples=examples(12))
@given(data=st.data(), seed=st.sampled_from(SEEDS), sizes=CHANCES)
def test_email_addresses_that_exist_throughout_are_found_once_during_changes(directories, data, seed, sizes):
    store, original = directories[seed]
    condition = data.draw(conditions(original) | st.just(EVERYTHING))

    def walk(tx):
        directory = original.on(tx, sizes)
        before = directory.matching(condition)
        times = iter(range(15))  # without this limit, each page might add more email addresses than it returns

        def disturb():
            if next(times, None) is None:
                return
            for _ in range(2):
                if found := directory.ids():
                    directory.chance.choice([directory.delete, directory.delete_and_create_again])(sizes.choice(found))
                directory.create()

        ids = directory.walked(condition, sizes, between=disturb)
        assert len(ids) == len(set(ids))
        assert before & set(directory.ids()) <= set(ids)
        raise _Rollback

    with pytest.raises(_Rollback):
        store.write(walk)


def test_a_search_returns_the_alias_link_of_each_email_address(directories):
    store, directory = directories[0]
    primary, alias = sorted(directory.ids())[:2]
    links = {found.id: link for found, link in store.long_read(lambda tx: directory.on(tx).page(EVERYTHING)).found}
    assert {email_address_id for email_address_id, link in links.items() if link} == {primary, alias}
    assert links[primary].alias_of(primary) == alias
    assert links[primary] == links[alias]


def test_unknown_instances_and_instances_of_other_tenants_are_not_searched(directories):
    store, _ = directories[0]
    not_searched = [(TENANT, "k"), (OTHER_TENANT, "i"), (TENANT, "nobody"), (Tenant("000000000000", "eu-west-1"), "i")]
    for tenant, instance_id in not_searched:
        assert store.long_read(page_of, EVERYTHING, tenant=tenant, instance_id=instance_id) is None


def page_of(tx, condition, *, tenant=TENANT, instance_id="i", after=None, limit=10, count_up_to=10):
    return tx.search(tenant, instance_id, condition, after=after, limit=limit, count_up_to=count_up_to)


def test_the_total_is_counted_up_to_the_requested_limit(directories):
    store, _ = directories[0]
    page = store.long_read(page_of, EVERYTHING, limit=1, count_up_to=5)
    assert (len(page.found), page.total) == (1, 5)
    page = store.long_read(page_of, EVERYTHING, limit=7, count_up_to=5)
    assert len(page.found) == 7 <= page.total


def test_an_instance_without_email_addresses_has_one_empty_page(store, instance):
    assert store.long_read(page_of, EVERYTHING) == ports.SearchPage([], 0, None)


def test_deleting_an_instance_deletes_its_search_entries(store):
    directory = store.write(build, 1)
    assert len(directory.there) > 20
    for instance_id, tenant in INSTANCES.items():
        store.write(instances.delete, tenant, instance_id, now=NOW)
    while store.write(instances.remove_deleted):
        pass
    assert store.count("search_entries", "tags") == {"search_entries": 0, "tags": 0}


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


def test_starts_with_works_for_all_characters(store, instance):
    def fill(tx):
        directory = Directory(tx, random.Random(1))
        ends = ["", "a", "\ud7ff", "\ue000", "\U0010ffff"]
        for number, display_name in enumerate(start + end for start in STARTS for end in ends):
            directory.add(replace(an_email_address(f"e{number}"), display_name=display_name))
        return directory

    directory = store.write(fill)
    for start in STARTS:
        condition = search.text(Field.DISPLAY_NAME, Comparison.STARTS_WITH, start)
        assert store.long_read(lambda tx, c=condition: directory.on(tx).found(c)) == directory.matching(condition)


PIECES = [*FRAGMENTS, "", "a%", "a_", "a*", "?", "[a]", f"{LONG}x\U0010ffff", "or", "and ("]


@pytest.fixture(scope="module")
def pieces(engine):
    """A store in which every piece is a display name, and is in the middle of a description."""

    def fill(tx):
        directory = Directory(tx, random.Random(1))
        make_instance(tx)
        for number, piece in enumerate(PIECES):
            directory.add(replace(an_email_address(f"e{number}"), display_name=piece, description=f"abc{piece}abc"))
        return directory

    handle = Handle(engine, engine.fresh())
    yield handle, handle.write(fill)
    handle.close()
    engine.drop(handle.database)


@pytest.mark.parametrize("alone", [True, False], ids=["drives", "filters"])
@pytest.mark.parametrize("comparison", Comparison)
def test_a_searched_value_is_not_interpreted_as_a_pattern(pieces, comparison, alone):
    store, directory = pieces
    expected = {
        (name, value): search.text(FIELD_NAMES[name], comparison, value)
        for piece in PIECES
        for name, value in (("displayName", piece), ("description", f"abc{piece}"), ("description", f"bc{piece}ab"))
    }
    if not alone:
        expected = {value: Either((one, Tagged("key", None))) for value, one in expected.items()}
    found = store.long_read(lambda tx: {value: directory.on(tx).found(one) for value, one in expected.items()})
    for value, condition in expected.items():
        assert found[value] == directory.matching(condition), value


def contains(value):
    return search.text(Field.DESCRIPTION, Comparison.CONTAINS, value)


@pytest.mark.parametrize(
    ("stored", "searched"),
    [("abc\ufffd", "abc\ufffe"), ("abc\uffff", "abc\ufffd"), ("ab\ufffe", "ab\uffff")],
    ids=ascii,
)
def test_characters_that_the_index_treats_as_equal_are_distinguished(store, instance, stored, searched):
    store.write(email_addresses.create, TENANT, replace(an_email_address("a"), description=stored), tags={})
    assert store.long_read(page_of, contains(searched)).found == []
    assert len(store.long_read(page_of, contains(stored)).found) == 1


@pytest.mark.parametrize("end", ["", "b"], ids=["found", "not found"])
def test_a_long_searched_value_is_compared_completely(store, instance, end):
    long = "ab" * 2_000
    store.write(email_addresses.create, TENANT, replace(an_email_address("a"), description=f"x{long}"), tags={})
    page = store.long_read(page_of, contains(long + end))
    assert (len(page.found), page.total) == ((1, 1) if not end else (0, 0))


CONDITIONS = {
    "everything": EVERYTHING,
    "tag": Tagged("key", "value"),
    "part": contains("words"),
    "start": search.text(Field.DESCRIPTION, Comparison.STARTS_WITH, "w"),
    "exact": search.text(Field.DESCRIPTION, Comparison.EXACT, "words"),
    "short part": contains("w"),
    "tag of any value": Tagged("key", None),
}


def worded(name):
    new = replace(an_email_address(name), description="words")
    return lambda tx: email_addresses.create(tx, TENANT, new, tags={"key": "value"})


def test_the_page_after_deleted_results_is_empty(store, instance):
    for name in "ab":
        store.write(worded(name))
    cursors = {name: store.long_read(page_of, condition, limit=1).next_after for name, condition in CONDITIONS.items()}
    for name in "ab":
        store.write(deleting(name))
    for name, condition in CONDITIONS.items():
        assert store.long_read(page_of, condition, after=cursors[name], limit=1) == ports.SearchPage([], 0, None)


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_pages_show_each_remaining_email_address_once_while_others_change(store, instance, condition):
    for number in range(12):
        store.write(worded(f"e{number:02}"))
    other = store.another()
    seen, after, new_numbers = [], None, iter(range(100, 200))
    changes = iter([worded, deleting, deleting, worded, worded, deleting])
    deleted_names = iter(["e03", "e00", "e11"])
    while True:
        page = store.long_read(page_of, condition, after=after, limit=2, count_up_to=99)
        seen += [found.id for found, _ in page.found]
        after = page.next_after
        if after is None:
            break
        if change := next(changes, None):
            other.write(change(next(deleted_names) if change is deleting else f"e{next(new_numbers)}"))
    assert len(seen) == len(set(seen))
    assert {f"e{number:02}" for number in range(12)} - {"e00", "e03", "e11"} <= set(seen)


def test_a_search_can_be_continued_on_another_node(store, instance):
    create(store, *"abcde")
    other = store.another()
    first = store.long_read(page_of, EVERYTHING, limit=2)
    other.write(creating("f"))
    second = other.long_read(page_of, EVERYTHING, limit=2, after=first.next_after)
    third = store.long_read(page_of, EVERYTHING, limit=2, after=second.next_after)
    pages = [[found.id for found, _ in page.found] for page in (first, second, third)]
    assert pages == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert [page.total for page in (first, second, third)] == [5, 6, 6]
    assert third.next_after is None
