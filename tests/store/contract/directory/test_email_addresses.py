"""Email addresses on both stores: create, describe, update, delete, and the quota."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import (
    OTHERS,
    Described,
    associate,
    check_invariants,
    create,
    creating,
    delete,
    describe,
    ids,
    tokened,
)
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from waypost.app.directory import email_addresses
from waypost.app.directory.email_addresses import Domains
from waypost.domain import errors
from waypost.domain.directory import addresses, search
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.search import Comparison, Field, Tagged

LATER = NOW + timedelta(milliseconds=1)


def update(store, name, display_name=None, description=None, **options):
    return store.write(
        email_addresses.update_metadata,
        TENANT,
        "i",
        name,
        **{"display_name": display_name, "description": description, "now": LATER} | options,
    )


def found(store, condition):
    page = store.long_read(email_addresses.search_page, TENANT, "i", condition, after=None, limit=9, count_up_to=9)
    return [each.id for each, _ in page.found]


def named(text):
    return search.text(Field.DISPLAY_NAME, Comparison.EXACT, text)


def test_an_email_address_is_described_as_created(store, instance):
    created = replace(an_email_address("a"), display_name="", description="long ago")
    assert store.write(email_addresses.create, TENANT, created, tags={"team": "blue", "cost": ""}) == "a"

    expected = Described(created, None, {"cost": "", "team": "blue"})
    assert describe(store, "a") == describe(store.another(), "a") == expected


def test_every_field_of_an_email_address_is_stored(store, instance):
    created = replace(
        an_email_address("a"),
        address=addresses.parse("Straße@Bücher.Example"),
        display_name="Ann",
        description=None,
        modified_at=LATER,
    )
    store.write(email_addresses.create, TENANT, created, tags={})
    assert store.read(lambda tx: tx.email_address_by_id("a")) == created
    assert store.read(lambda tx: tx.email_address_by_key("strasse@xn--bcher-kva.example")) == created
    assert store.read(lambda tx: tx.owners(["strasse@xn--bcher-kva.example"]).found) == {
        created.address.key: (created, None)
    }


def test_an_address_exists_once_in_the_whole_deployment(store, instance):
    store.write(make_instance, "j", tenant=OTHERS[0])
    create(store, "a")
    again = replace(an_email_address("b", "j"), address=addresses.parse("A@EXAMPLE.com"))
    shared = Domains(shared=frozenset({"example.com"}))
    with pytest.raises(errors.Duplicate):
        store.write(email_addresses.create, OTHERS[0], again, tags={}, domains=shared)
    assert ids(store) == ["a"]


def test_an_email_address_with_a_reserved_tag_or_an_unknown_instance_is_not_created(store, instance):
    with pytest.raises(errors.Invalid, match="'aws:x' is reserved"):
        create(store, "a", tags={"aws:x": ""})
    for quota in (None, 5):
        with pytest.raises(errors.NotFound, match="Instance j was not found"):
            create(store, "a", instance_id="j", quota=quota)
    assert store.count("email_addresses", "search_entries", "tags") == dict.fromkeys(
        ("email_addresses", "search_entries", "tags"), 0
    )


def test_the_error_names_the_missing_instance_or_email_address(store, instance):
    store.write(make_instance, "j")
    create(store, "a")
    for name, instance_id in (("b", "i"), ("a", "j")):
        for attempt in (
            lambda tx, *at: email_addresses.describe(tx, TENANT, *at),
            lambda tx, *at: email_addresses.delete(tx, TENANT, *at),
            lambda tx, *at: email_addresses.update_metadata(
                tx, TENANT, *at, display_name="", description="", now=LATER
            ),
        ):
            with pytest.raises(errors.NotFound, match=f"Email address {name} was not found in instance {instance_id}"):
                store.write(attempt, instance_id, name)
            with pytest.raises(errors.NotFound, match="Instance k was not found"):
                store.write(attempt, "k", name)
    with pytest.raises(errors.NotFound, match="Instance k was not found"):
        ids(store, "k")


def test_changed_texts_are_stored_and_found(store, instance):
    create(store, "a")
    before = describe(store, "a").email_address
    assert update(store, "a", display_name="Ann") == "a"
    assert describe(store, "a").email_address == replace(before, display_name="Ann", modified_at=LATER)
    update(store, "a", description="long", now=NOW)
    assert describe(store, "a").email_address == replace(before, display_name="Ann", description="long")
    assert found(store, named("ANN")) == ["a"]
    update(store, "a", display_name="", description="")
    assert describe(store, "a").email_address == replace(before, display_name="", description="", modified_at=LATER)
    assert found(store, named("ANN")) == []
    assert found(store, named("")) == ["a"]


def test_an_update_changes_only_the_given_fields_and_keeps_links_and_tags(store, instance):
    create(store, "p", "a", tags={"k": "v"})
    associate(store, "p", "a")
    before = describe(store, "a")
    update(store, "a")
    assert describe(store, "a") == before
    update(store, "a", display_name="x")
    after = describe(store, "a")
    assert (after.link, after.tags) == (before.link, before.tags)


def test_an_update_with_a_client_token_is_made_once(store, instance):
    create(store, "a")
    call = tokened()
    assert update(store, "a", "first", call=call) == "a"
    update(store, "a", "second")
    assert update(store, "a", "first", call=call) == "a"
    assert describe(store, "a").email_address.display_name == "second"


def test_a_deleted_email_address_is_not_found_and_its_address_can_be_used_again(store, instance):
    create(store, "a", "b", tags={"k": "v"})
    delete(store, "a")
    assert ids(store) == ["b"]
    assert found(store, Tagged("k", "v")) == ["b"]
    assert store.read(lambda tx: tx.email_address_by_key("a@example.com")) is None
    with pytest.raises(errors.NotFound):
        delete(store, "a")
    create(store, "a")
    assert describe(store, "a").tags == {}
    check_invariants(store)


def test_an_instance_cannot_have_more_email_addresses_than_its_quota(store, instance):
    store.write(make_instance, "j")

    def create_one(name, instance_id="i", quota=2):
        create(store, name, instance_id=instance_id, quota=quota)

    create_one("a")
    create_one("b")
    with pytest.raises(errors.QuotaExceeded, match="Instance i has reached its quota of 2 email addresses"):
        create_one("c")
    create_one("c", "j")
    with pytest.raises(errors.QuotaExceeded):
        create_one("d", quota=1)
    create_one("d", quota=None)
    for name in ("a", "b"):
        delete(store, name)
    create_one("a")


def test_a_retried_create_does_not_count_towards_the_quota(store, instance):
    def create_one(name):
        call = tokened(fingerprint=name.encode(), token=name)
        return store.write(creating(name, quota=1, call=call))

    assert create_one("a") == "a"
    assert create_one("a") == "a"
    with pytest.raises(errors.QuotaExceeded):
        create_one("b")
    delete(store, "a")
    assert create_one("b") == "b"


def test_email_addresses_are_counted_up_to_a_limit(store, instance):
    create(store, *"abc")
    counts = [store.read(lambda tx, n=n: tx.count_email_addresses("i", up_to=n)) for n in (0, 1, 3, 9)]
    assert counts == [0, 1, 3, 3]
    assert store.read(lambda tx: tx.count_email_addresses("nobody", up_to=5)) == 0


def test_owners_are_found_by_address_key_with_their_primaries(store, instance):
    create(store, "p", "a", "x")
    associate(store, "p", "a")
    keys = [f"{name}@example.com" for name in ("a", "nobody", "p", "x")]
    owners = store.read(lambda tx: tx.owners(keys)).found
    assert {key: (own.id, primary and primary.id) for key, (own, primary) in owners.items()} == {
        "a@example.com": ("a", "p"),
        "p@example.com": ("p", None),
        "x@example.com": ("x", None),
    }
    assert store.read(lambda tx: tx.owners([])).found == {}


def test_only_email_addresses_of_the_instance_are_locked(store, instance):
    store.write(make_instance, "j")
    create(store, *"abc")
    create(store, "d", instance_id="j")
    locked = store.write(lambda tx: tx.lock_email_addresses(TENANT, "i", ["a", "c", "d", "nobody"]))
    assert locked == {"a", "c"}
    assert store.write(lambda tx: tx.lock_email_addresses(OTHERS[0], "i", ["a"])) == set()
    assert store.write(lambda tx: tx.lock_email_addresses(TENANT, "i", [])) == set()
    associate(store, "a", "b")
    link = AliasLink("a", "b", NOW)
    for tenant, found in ((TENANT, {"a": link, "b": link, "c": None}), (OTHERS[0], {})):
        assert store.write(lambda tx, of=tenant: tx.lock_with_links(of, "i", ["a", "b", "c", "d", "nobody"])) == found
    assert store.write(lambda tx: tx.lock_email_address(TENANT, "i", "a")) == an_email_address("a")
    for elsewhere in ((TENANT, "i", "d"), (TENANT, "i", "nobody"), (TENANT, "j", "a"), (OTHERS[0], "i", "a")):
        assert store.write(lambda tx, where=elsewhere: tx.lock_email_address(*where)) is None
