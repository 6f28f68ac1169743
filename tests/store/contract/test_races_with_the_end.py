"""Concurrent calls about a resource that is being deleted: no part of the resource is left behind."""

import pytest

from tests.kit.stores.calls import (
    associate,
    associating,
    check_invariants,
    create,
    creating,
    deleting,
    deleting_instance,
    describe,
    disassociating,
    kinds,
    tokened,
)
from tests.kit.values import NOW, TENANT, make_instance
from tests.store.contract.mail.test_mail import MAIL_TABLES, accepting, inbox
from waypost.app.directory import email_addresses, instances, tags
from waypost.domain import errors

ROUNDS = 8


@pytest.mark.parametrize("deleted", ["p", "a"])
def test_an_email_address_is_deleted_while_it_is_linked(store, instance, race, deleted):
    for _ in range(ROUNDS):
        create(store, "p", "a")
        outcomes = race(associating("p", "a"), deleting(deleted))
        assert outcomes[1] is None
        assert kinds(outcomes[:1]).keys() <= {"done", "NotFound"}
        check_invariants(store)
        (remaining,) = {"p", "a"} - {deleted}
        assert describe(store, remaining).link is None
        store.write(deleting(remaining))


def test_both_email_addresses_of_a_link_are_deleted_at_the_same_time(store, instance, race):
    for _ in range(ROUNDS):
        create(store, "p", "a", tags={"k": "v"})
        associate(store, "p", "a")
        assert kinds(race(deleting("p"), deleting("a"))) == {"done": 2}
        assert store.count("email_addresses", "alias_link_ends", "tags") == {
            "email_addresses": 0,
            "alias_link_ends": 0,
            "tags": 0,
        }


def test_a_link_is_removed_while_both_its_email_addresses_are_deleted(store, instance, race):
    for _ in range(ROUNDS):
        create(store, "p", "a")
        associate(store, "p", "a")
        outcomes = race(deleting("a"), disassociating("p", "a"), deleting("p"))
        assert kinds([outcomes[0], outcomes[2]]) == {"done": 2}
        assert kinds(outcomes[1:2]).keys() <= {"done", "NotFound"}
        assert store.count("email_addresses", "alias_link_ends") == {"email_addresses": 0, "alias_link_ends": 0}


def test_an_email_address_is_deleted_once_while_other_calls_change_it(store, instance, race):
    texts = {"display_name": "x", "description": "y", "now": NOW}
    for _ in range(ROUNDS):
        create(store, "a")
        outcomes = race(
            deleting("a"),
            lambda tx: email_addresses.update_metadata(tx, TENANT, "i", "a", **texts),
            lambda tx: tags.add(tx, TENANT, tags.Resource("i", "a"), {"k": "v"}),
            lambda tx: tags.remove(tx, TENANT, tags.Resource("i", "a"), ["k"]),
            deleting("a"),
        )
        assert sorted(kinds([outcomes[0], outcomes[4]])) == ["NotFound", "done"]
        assert kinds(outcomes).keys() <= {"done", "NotFound"}
        check_invariants(store)


def test_an_instance_that_is_deleted_while_calls_fill_it_leaves_no_rows_behind(store, race):
    for number in range(ROUNDS):
        store.write(make_instance)
        create(store, "p", "a", "q", "b")
        associate(store, "q", "b")
        outcomes = race(
            deleting_instance(),
            creating("x", tags={"k": "v"}),
            creating("y", quota=9),
            creating("z", call=tokened(token=f"{number}")),
            associating("p", "a"),
            disassociating("q", "b"),
            deleting("b"),
            lambda tx: tags.add(tx, TENANT, tags.Resource("i"), {"k": "v"}),
            lambda tx: tags.add(tx, TENANT, tags.Resource("i", "p"), {"k": "v"}),
        )
        assert outcomes[0] is None
        assert kinds(outcomes).keys() <= {"done", "NotFound", "Conflict", "Busy"}
        while store.write(instances.remove_deleted):  # rows that other calls had locked remain for further steps
            pass
        tables = ("instances", "email_addresses", "alias_link_ends", "tags", "search_entries")
        assert store.count(*tables) == dict.fromkeys(tables, 0)


def test_an_instance_is_deleted_once(store, instance, race):
    create(store, *"abc", tags={"k": "v"})
    assert kinds(race(*[deleting_instance()] * 6)) == {"NotFound": 5, "done": 1}


def test_mail_for_an_address_that_is_being_deleted_is_accepted_whole_or_not_at_all(store, instance, race):
    accepted = 0
    for number in range(ROUNDS):
        create(store, "p", "a")
        associate(store, "p", "a")
        outcomes = race(accepting("a", message_id=f"m{number}"), deleting("p"), deleting("a"))
        assert kinds(outcomes[1:]) == {"done": 2}
        assert kinds(outcomes[:1]).keys() <= {"done", "RecipientsChanged"}
        accepted += not isinstance(outcomes[0], errors.RecipientsChanged)
    found = store.count(*MAIL_TABLES)
    assert (found["messages"], found["message_bodies"]) == (accepted, accepted)
    assert accepted <= found["deliveries"] <= 2 * accepted


def test_messages_that_arrive_at_the_same_time_are_all_stored_in_the_order_of_their_ids(store, instance, race):
    create(store, "x")
    names = [f"m{number:02}" for number in range(20)]
    assert kinds(race(*(accepting("x", message_id=name) for name in names))) == {"done": 20}
    assert [message.id for _, message in inbox(store, "x", limit=99)] == names[::-1]
