"""Concurrent calls, on two nodes if the engine allows it: the result is the same as if they ran one by one."""

import pytest
from msgspec.structs import replace

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


def test_ten_concurrent_creates_never_exceed_a_quota_of_five(store, instance, race):
    outcomes = race(*(creating(f"e{number}", quota=5) for number in range(10)))

    assert kinds(outcomes) == {"QuotaExceeded": 5, "done": 5}
    assert sorted(ids(store)) == sorted(outcome for outcome in outcomes if isinstance(outcome, str))


def test_concurrent_creates_and_deletes_stay_within_a_quota(store, instance, race):
    create(store, *"abc")
    outcomes = race(*(creating(f"e{number}", quota=3) for number in range(6)), *(deleting(name) for name in "abc"))
    assert set(kinds(outcomes)) <= {"done", "QuotaExceeded"}
    assert kinds(outcomes[6:]) == {"done": 3}
    assert len(ids(store)) <= 3
    check_invariants(store)


@pytest.mark.parametrize("resource", [tags.Resource("i"), tags.Resource("i", "a")], ids=["instance", "email address"])
def test_concurrent_calls_never_add_more_than_fifty_tags(store, instance, race, resource):
    create(store, "a")
    store.write(tags.add, TENANT, resource, {f"k{number}": "" for number in range(44)})
    outcomes = race(
        *(lambda tx, n=n: tags.add(tx, TENANT, resource, {f"new{n}": "", f"newer{n}": ""}) for n in range(10))
    )
    assert kinds(outcomes) == {"Invalid": 7, "done": 3}
    assert len(store.read(tags.of, TENANT, resource)) == 50


@pytest.mark.parametrize("resource", [tags.Resource("i"), tags.Resource("i", "a")], ids=["instance", "email address"])
def test_concurrent_changes_and_removals_of_tags_have_a_serial_result(store, instance, race, resource):
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


# Unique names


def test_only_one_of_concurrent_creates_with_the_same_address_succeeds(store, instance, race):
    store.write(make_instance, "j")
    address = addresses.parse("same@example.com")
    new = [replace(an_email_address(f"e{n}", "ij"[n % 2]), address=address) for n in range(8)]
    outcomes = race(*(lambda tx, one=one: email_addresses.create(tx, TENANT, one, tags={"k": "v"}) for one in new))

    assert kinds(outcomes) == {"Duplicate": 7, "done": 1}
    assert len(ids(store, "i")) + len(ids(store, "j")) == 1
    assert store.count("tags", "search_entries") == {"tags": 1, "search_entries": 1}


def test_only_one_of_concurrent_instances_with_the_same_alias_is_created(store, race):
    outcomes = race(*(lambda tx, n=n: make_instance(tx, f"i{n}", alias="Support") for n in range(8)))
    assert kinds(outcomes) == {"Duplicate": 7, "done": 1}
    assert store.count("instances") == {"instances": 1}


def test_first_time_is_true_for_only_one_of_concurrent_calls(store, race):
    assert sorted(race(*[lambda tx: tx.first_time("it")] * 10)) == [False] * 9 + [True]


def test_concurrent_starts_make_one_access_key_for_the_owner(store, race):
    outcomes = race(*(lambda tx, n=n: access_keys.owners_key(tx, a_key(f"AKIA{n}")) for n in range(10)))
    assert len(set(outcomes)) == 1
    assert store.read(lambda tx: tx.access_keys()) == outcomes[:1]


def test_only_one_of_concurrent_servers_adopts_a_credentials_file(store, race):
    outcomes = race(*(lambda tx, n=n: access_keys.adopt(tx, [a_key(f"AKIA{n}")], now=NOW) for n in range(6)))
    assert kinds(outcomes) == {"done": 6}
    assert store.count("access_keys") == {"access_keys": 1}


def test_transactions_that_acquire_the_same_named_lock_run_one_after_the_other(store, race):
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


def test_ten_concurrent_calls_with_one_token_have_one_effect_and_one_response(store, instance, race):
    def call(tx, n):
        return creating(f"e{n}", tags={"k": str(n)}, call=tokened())(tx)

    outcomes = race(*(lambda tx, n=n: call(tx, n) for n in range(10)))
    assert len(set(outcomes)) == 1
    assert ids(store) == outcomes[:1]
    assert store.count("remembered_calls", "tags") == {"remembered_calls": 1, "tags": 1}


def test_concurrent_calls_that_reuse_a_token_with_other_parameters_are_refused(store, instance, race):
    outcomes = race(*(creating(f"e{n % 2}", call=tokened(str(n % 2).encode())) for n in range(10)))
    assert kinds(outcomes) == {"TokenReused": 5, "done": 5}
    assert len(set(ids(store))) == 1
    assert {outcome for outcome in outcomes if isinstance(outcome, str)} == set(ids(store))


def test_the_next_waiting_call_runs_if_a_call_with_the_same_token_fails(store, instance, race):
    ran = []

    def fails_three_times(tx):
        def effect():
            ran.append("run")
            if len(ran) <= 3:
                raise errors.Conflict("not yet")
            return creating("a")(tx)

        return idempotency.once(tx, tokened(), now=NOW, effect=effect)

    outcomes = race(*[fails_three_times] * 8)
    assert kinds(outcomes) == {"Conflict": 3, "done": 5}
    assert ids(store) == ["a"]
    assert len(ran) == 4


def test_concurrent_purges_remove_only_expired_tokens(store, race):
    for days in range(20):
        call = tokened(token=f"{days}")
        store.write(idempotency.once, call, now=NOW - call.retention * days / 10, effect=lambda: "done")
    purge = [lambda tx: idempotency.purge(tx, now=NOW, retention=tokened().retention)] * 4
    assert kinds(race(*purge)) == {"done": 4}
    assert store.count("remembered_calls") == {"remembered_calls": 11}


# Alias links

CONFLICTS = {
    "one primary": [("p", name) for name in "abcd"],
    "one alias": [(name, "p") for name in "abcd"],
    "a ring": [("a", "b"), ("b", "c"), ("c", "a"), ("b", "a")],
    "the same link": [("p", "a")] * 4,
    "both directions": [("p", "a"), ("a", "p")] * 2,
}


@pytest.mark.parametrize("pairs", CONFLICTS.values(), ids=CONFLICTS)
def test_only_one_of_concurrent_conflicting_links_is_created(store, instance, race, pairs):
    create(store, *"pabcd")
    outcomes = race(*(associating(*pair) for pair in pairs))

    assert kinds(outcomes) == {"Conflict": 3, "done": 1}
    primary, alias = pairs[[isinstance(outcome, errors.Conflict) for outcome in outcomes].index(False)]
    link = describe(store, primary).link
    assert (link.primary_id, link.alias_id) == (primary, alias)
    assert store.count("alias_link_ends") == {"alias_link_ends": 2}


def test_concurrent_links_that_do_not_conflict_are_all_created(store, instance, race):
    create(store, *"abcdefgh")
    outcomes = race(*(associating(*pair) for pair in ("ab", "dc", "ef", "hg")))
    assert kinds(outcomes) == {"done": 4}
    check_invariants(store)


def test_only_one_of_concurrent_disassociate_calls_succeeds(store, instance, race):
    create(store, "p", "a")
    associate(store, "p", "a")
    assert kinds(race(*[disassociating("p", "a")] * 6)) == {"NotFound": 5, "done": 1}
