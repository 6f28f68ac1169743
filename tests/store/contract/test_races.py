"""Calls at the same time, on two nodes where there can be two: one after the other would have done the same."""

from dataclasses import replace

import pytest

from tests.kit.stores.calls import (
    associate,
    associating,
    check_invariants,
    create,
    creating,
    deleting,
    describe,
    disassociating,
    ids,
    kinds,
    tokened,
)
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from tests.store.contract.directory.test_access_keys import a_key
from waypost.app.directory import access_keys, email_addresses, idempotency, tags
from waypost.domain import errors
from waypost.domain.directory import addresses

# Limits


def test_ten_creates_fill_a_quota_of_five_and_no_more(store, instance, race):
    outcomes = race(*(creating(f"e{number}", quota=5) for number in range(10)))

    assert kinds(outcomes) == {"QuotaExceeded": 5, "done": 5}
    assert sorted(ids(store)) == sorted(outcome for outcome in outcomes if isinstance(outcome, str))


def test_creates_and_deletes_at_once_stay_within_a_quota(store, instance, race):
    create(store, *"abc")
    outcomes = race(*(creating(f"e{number}", quota=3) for number in range(6)), *(deleting(name) for name in "abc"))
    assert set(kinds(outcomes)) <= {"done", "QuotaExceeded"}
    assert kinds(outcomes[6:]) == {"done": 3}
    assert len(ids(store)) <= 3
    check_invariants(store)


@pytest.mark.parametrize("resource", [tags.Resource("i"), tags.Resource("i", "a")], ids=["instance", "email address"])
def test_tags_added_at_once_are_fifty_at_most(store, instance, race, resource):
    create(store, "a")
    store.write(tags.add, TENANT, resource, {f"k{number}": "" for number in range(44)})
    outcomes = race(
        *(lambda tx, n=n: tags.add(tx, TENANT, resource, {f"new{n}": "", f"newer{n}": ""}) for n in range(10))
    )
    assert kinds(outcomes) == {"Invalid": 7, "done": 3}
    assert len(store.read(tags.of, TENANT, resource)) == 50


@pytest.mark.parametrize("resource", [tags.Resource("i"), tags.Resource("i", "a")], ids=["instance", "email address"])
def test_tags_that_are_changed_and_removed_at_once_are_those_of_one_order(store, instance, race, resource):
    create(store, "a")
    keys = [f"k{number}" for number in range(5)]

    def change(tx, n):
        tags.add(tx, TENANT, resource, dict.fromkeys(keys[::-1] if n % 2 else keys, str(n)))

    outcomes = race(
        *(lambda tx, n=n: change(tx, n) for n in range(10)), lambda tx: tags.remove(tx, TENANT, resource, keys)
    )
    assert kinds(outcomes) == {"done": 11}
    left = store.read(tags.of, TENANT, resource)
    assert left == {} or (list(left) == keys and len(set(left.values())) == 1)


# Names that are there once


def test_of_creates_with_one_address_one_wins(store, instance, race):
    store.write(make_instance, "j")
    address = addresses.parse("same@example.com")
    new = [replace(an_email_address(f"e{n}", "ij"[n % 2]), address=address) for n in range(8)]
    outcomes = race(*(lambda tx, one=one: email_addresses.create(tx, TENANT, one, tags={"k": "v"}) for one in new))

    assert kinds(outcomes) == {"Duplicate": 7, "done": 1}
    assert len(ids(store, "i")) + len(ids(store, "j")) == 1
    assert store.count("tags", "search_entries") == {"tags": 1, "search_entries": 1}


def test_of_instances_with_one_alias_one_wins(store, race):
    outcomes = race(*(lambda tx, n=n: make_instance(tx, f"i{n}", alias="Support") for n in range(8)))
    assert kinds(outcomes) == {"Duplicate": 7, "done": 1}
    assert store.count("instances") == {"instances": 1}


def test_something_is_done_for_the_first_time_once(store, race):
    assert sorted(race(*[lambda tx: tx.first_time("it")] * 10)) == [False] * 9 + [True]


def test_one_owner_s_key_is_made(store, race):
    outcomes = race(*(lambda tx, n=n: access_keys.owners_key(tx, a_key(f"AKIA{n}")) for n in range(10)))
    assert len(set(outcomes)) == 1
    assert store.read(lambda tx: tx.access_keys()) == outcomes[:1]


def test_a_credentials_file_is_adopted_by_one_of_many(store, race):
    outcomes = race(*(lambda tx, n=n: access_keys.adopt(tx, [a_key(f"AKIA{n}")], now=NOW) for n in range(6)))
    assert kinds(outcomes) == {"done": 6}
    assert store.count("access_keys") == {"access_keys": 1}


def test_who_holds_a_name_does_its_work_alone(store, race):
    inside = []

    def alone(tx):
        tx.hold("x")
        found = store_count(tx)
        make_instance(tx, f"i{found}")
        inside.append(found)

    def store_count(tx):
        return len(tx.instances(TENANT, after="", limit=99))

    assert kinds(race(*[alone] * 10)) == {"done": 10}
    assert inside == list(range(10))


# Client tokens


def test_ten_calls_with_one_token_have_one_effect_and_one_answer(store, instance, race):
    def call(tx, n):
        return creating(f"e{n}", tags={"k": str(n)}, call=tokened())(tx)

    outcomes = race(*(lambda tx, n=n: call(tx, n) for n in range(10)))
    assert len(set(outcomes)) == 1
    assert ids(store) == outcomes[:1]
    assert store.count("remembered_calls", "tags") == {"remembered_calls": 1, "tags": 1}


def test_of_calls_with_one_token_and_other_parameters_one_sort_wins(store, instance, race):
    outcomes = race(*(creating(f"e{n % 2}", call=tokened(str(n % 2).encode())) for n in range(10)))
    assert kinds(outcomes) == {"TokenReused": 5, "done": 5}
    assert len(set(ids(store))) == 1
    assert {outcome for outcome in outcomes if isinstance(outcome, str)} == set(ids(store))


def test_a_call_that_fails_leaves_its_token_to_the_next_that_waits(store, instance, race):
    ran = []

    def at_first_in_vain(tx):
        def effect():
            ran.append("once more")
            if len(ran) <= 3:
                raise errors.Conflict("not yet")
            return creating("a")(tx)

        return idempotency.once(tx, tokened(), now=NOW, effect=effect)

    outcomes = race(*[at_first_in_vain] * 8)
    assert kinds(outcomes) == {"Conflict": 3, "done": 5}
    assert ids(store) == ["a"]
    assert len(ran) == 4


def test_what_expired_is_forgotten_by_two_at_once_and_nothing_else(store, race):
    for days in range(20):
        call = tokened(token=f"{days}")
        store.write(idempotency.once, call, now=NOW - call.retention * days / 10, effect=lambda: "done")
    purge = [lambda tx: idempotency.purge(tx, now=NOW, retention=tokened().retention)] * 4
    assert kinds(race(*purge)) == {"done": 4}
    assert store.count("remembered_calls") == {"remembered_calls": 11}


# Alias links

CONTRADICTIONS = {
    "one primary": [("p", name) for name in "abcd"],
    "one alias": [(name, "p") for name in "abcd"],
    "a ring": [("a", "b"), ("b", "c"), ("c", "a"), ("b", "a")],
    "the same": [("p", "a")] * 4,
    "both ways": [("p", "a"), ("a", "p")] * 2,
}


@pytest.mark.parametrize("pairs", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_of_links_that_contradict_each_other_one_is_made(store, instance, race, pairs):
    create(store, *"pabcd")
    outcomes = race(*(associating(*pair) for pair in pairs))

    assert kinds(outcomes) == {"Conflict": 3, "done": 1}
    primary, alias = pairs[[isinstance(outcome, errors.Conflict) for outcome in outcomes].index(False)]
    link = describe(store, primary).link
    assert (link.primary_id, link.alias_id) == (primary, alias)
    assert store.count("alias_link_ends") == {"alias_link_ends": 2}


def test_links_that_do_not_contradict_each_other_are_all_made(store, instance, race):
    create(store, *"abcdefgh")
    outcomes = race(*(associating(*pair) for pair in ("ab", "dc", "ef", "hg")))
    assert kinds(outcomes) == {"done": 4}
    check_invariants(store)


def test_a_link_is_ended_once(store, instance, race):
    create(store, "p", "a")
    associate(store, "p", "a")
    assert kinds(race(*[disassociating("p", "a")] * 6)) == {"NotFound": 5, "done": 1}
