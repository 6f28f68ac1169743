"""Tests of alias links on both stores."""

import pytest

from tests.kit.stores.calls import associate, check_invariants, create, delete, describe, disassociate, tokened
from tests.kit.values import NOW, make_instance
from waypost.domain import errors
from waypost.domain.directory.aliases import AliasLink


def test_a_link_is_returned_for_both_email_addresses(store, instance):
    create(store, "p", "a")
    associate(store, "p", "a")

    assert describe(store, "p").link == describe(store, "a").link == AliasLink("p", "a", NOW)
    links = store.read(lambda tx: tx.links_of(["a", "nobody", "p"]))
    assert links == dict.fromkeys("ap", AliasLink("p", "a", NOW))


@pytest.mark.parametrize("deleted", ["p", "a"])
def test_deleting_the_primary_or_the_alias_removes_the_link(store, instance, deleted):
    create(store, "p", "a", "x")
    associate(store, "p", "a")
    (remaining,) = {"p", "a"} - {deleted}

    delete(store, deleted)

    assert describe(store, remaining).link is None
    associate(store, remaining, "x")


def test_a_new_link_is_possible_immediately_after_a_disassociate(store, instance):
    create(store, "p", "a")
    associate(store, "p", "a")
    disassociate(store, "p", "a")
    associate(store, "a", "p")

    assert describe(store, "a").link == AliasLink("a", "p", NOW)


def test_the_error_names_the_missing_instance_or_email_address(store, instance):
    create(store, "p", "a")
    for primary, alias in (("p", "nobody"), ("nobody", "a")):
        for change in (associate, disassociate):
            with pytest.raises(errors.NotFound, match="Email address nobody was not found in instance i"):
                change(store, primary, alias)
    for change in (associate, disassociate):
        with pytest.raises(errors.NotFound, match="Instance j was not found"):
            change(store, "p", "a", instance_id="j")


def test_email_addresses_of_two_instances_cannot_be_linked(store, instance):
    store.write(make_instance, "j")
    create(store, "p")
    create(store, "a", instance_id="j")
    for inside in ("i", "j"):
        with pytest.raises(errors.NotFound):
            associate(store, "p", "a", instance_id=inside)


REFUSED = {
    "the same link": ("p", "a", "Email address a is already the alias of p"),
    "a second alias": ("p", "b", "Email address p already has the alias a"),
    "a chain": ("a", "b", "Email address a is itself an alias of p"),
    "a second primary": ("b", "a", "Email address a is already an alias of p"),
    "a primary as an alias": ("b", "p", "Email address p has an alias of its own, a"),
    "the opposite direction": ("a", "p", "Email address a is itself an alias of p"),
}


@pytest.mark.parametrize(("primary", "alias", "sentence"), REFUSED.values(), ids=REFUSED)
def test_the_error_names_the_existing_link_which_stays_unchanged(store, instance, primary, alias, sentence):
    create(store, "p", "a", "b")
    associate(store, "p", "a")
    with pytest.raises(errors.Conflict, match=sentence):
        associate(store, primary, alias)
    assert store.count("alias_link_ends") == {"alias_link_ends": 2}
    assert describe(store, "p").link == AliasLink("p", "a", NOW)


def test_an_email_address_cannot_be_an_alias_of_itself(store, instance):
    create(store, "p")
    with pytest.raises(errors.Invalid, match="Email address p cannot be its own alias"):
        associate(store, "p", "p")
    assert describe(store, "p").link is None


def test_a_disassociate_removes_only_the_link_between_the_two_email_addresses(store, instance):
    create(store, "p", "a", "q", "b", "x")
    associate(store, "p", "a")
    associate(store, "q", "b")
    for primary, alias in (("a", "p"), ("p", "b"), ("q", "a"), ("p", "x"), ("x", "a"), ("x", "p")):
        with pytest.raises(errors.NotFound, match=f"Email address {alias} is not an alias of {primary}"):
            disassociate(store, primary, alias)
    disassociate(store, "p", "a")
    assert describe(store, "a").link is None
    assert describe(store, "q").link == describe(store, "b").link == AliasLink("q", "b", NOW)
    with pytest.raises(errors.NotFound):
        disassociate(store, "p", "a")
    check_invariants(store)


def test_a_late_retry_of_an_associate_returns_the_recorded_response_and_does_nothing(store, instance):
    create(store, "p", "a")
    call = tokened()
    associate(store, "p", "a", call=call)
    disassociate(store, "p", "a")

    associate(store, "p", "a", call=call)

    assert describe(store, "p").link is None


def test_a_retried_disassociate_does_not_remove_a_newer_link(store, instance):
    create(store, "p", "a")
    associate(store, "p", "a")
    disassociate(store, "p", "a", call=tokened())
    associate(store, "p", "a")
    disassociate(store, "p", "a", call=tokened())

    assert describe(store, "p").link == AliasLink("p", "a", NOW)
