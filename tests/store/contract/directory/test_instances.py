"""Tests of instances on both stores."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import OTHERS, associate, check_invariants, create, delete, ids, tokened
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from waypost.app.directory import aliases, email_addresses, instances, tags
from waypost.domain import errors
from waypost.domain.directory.instances import Instance

ALL_TABLES = ("instances", "email_addresses", "alias_link_ends", "tags", "search_entries")


def an_instance(**fields):
    given = {
        "id": "i",
        "tenant": TENANT,
        "alias": None,
        "identity_management_type": "CONNECT_MANAGED",
        "directory_id": None,
        "inbound_calls_enabled": False,
        "outbound_calls_enabled": False,
        "created_at": NOW,
    }
    return Instance(**given | fields)


@pytest.mark.parametrize(
    "created",
    [
        an_instance(),
        an_instance(alias="Straße", directory_id="d-1234567890", inbound_calls_enabled=True),
        an_instance(alias="", directory_id="", outbound_calls_enabled=True, identity_management_type="SAML"),
    ],
    ids=["minimal", "all fields", "empty strings"],
)
def test_an_instance_is_described_as_created(store, created):
    given = {"team": "blue", "": "", "Team": "red"}
    assert store.write(instances.create, created, tags=given) == "i"

    assert store.read(instances.describe, TENANT, "i") == (created, given)
    assert store.another().read(instances.describe, TENANT, "i") == (created, given)
    assert store.long_read(instances.get, TENANT, "i") == created


def test_instance_aliases_are_unique_without_regard_to_case(store):
    store.write(make_instance, "i", alias="Support")
    with pytest.raises(errors.Duplicate, match=r"^Invalid Input\. Instance alias is already used\.$"):
        store.write(make_instance, "j", alias="support")
    with pytest.raises(errors.Duplicate, match=r"^Invalid Input\. Instance alias is already used\.$"):
        store.write(make_instance, "j", tenant=OTHERS[0], alias="SUPPORT")
    store.write(make_instance, "k")
    store.write(make_instance, "l")
    store.write(instances.delete, TENANT, "i", now=NOW)
    store.write(make_instance, "j", alias="support")


def test_each_region_with_instances_is_listed_once(store):
    assert store.long_read(lambda tx: tx.regions()) == []
    for instance_id, tenant in (("i", TENANT), ("j", OTHERS[0]), ("k", OTHERS[1]), ("l", TENANT)):
        store.write(make_instance, instance_id, tenant)
    assert store.long_read(lambda tx: tx.regions()) == ["eu-west-1", "us-east-1"]


def test_each_region_with_instances_of_an_account_is_listed_once(store):
    for instance_id, tenant in (("i", TENANT), ("j", OTHERS[0]), ("k", OTHERS[1]), ("l", TENANT)):
        store.write(make_instance, instance_id, tenant)
    assert store.read(lambda tx: tx.regions_of(TENANT.account)) == ["eu-west-1", "us-east-1"]
    assert store.read(lambda tx: tx.regions_of(OTHERS[0].account)) == [OTHERS[0].region]
    store.write(instances.delete, OTHERS[1], "k", now=NOW)
    assert store.read(lambda tx: tx.regions_of(TENANT.account)) == [TENANT.region]


def test_an_instance_with_a_reserved_tag_is_not_created(store):
    with pytest.raises(errors.Invalid, match="'AWS:x' is reserved"):
        store.write(instances.create, an_instance(), tags={"fine": "", "AWS:x": ""})
    assert store.count("instances", "tags") == {"instances": 0, "tags": 0}


@pytest.mark.parametrize("other", OTHERS, ids=["another account", "another region"])
def test_nothing_of_a_tenant_is_visible_to_another(store, instance, other):
    create(store, "p", "a")
    resource = tags.Resource("i", "p")
    both = {"primary_id": "p", "alias_id": "a", "now": NOW}
    texts = {"display_name": "", "description": "", "now": NOW}
    for attempt in (
        lambda tx: instances.get(tx, other, "i"),
        lambda tx: instances.describe(tx, other, "i"),
        lambda tx: instances.delete(tx, other, "i", now=NOW),
        lambda tx: email_addresses.create(tx, other, an_email_address("b"), tags={}),
        lambda tx: email_addresses.create(tx, other, an_email_address("b"), tags={}, quota=5),
        lambda tx: email_addresses.describe(tx, other, "i", "p"),
        lambda tx: email_addresses.update_metadata(tx, other, "i", "p", **texts),
        lambda tx: email_addresses.delete(tx, other, "i", "p"),
        lambda tx: tags.of(tx, other, resource),
        lambda tx: tags.add(tx, other, resource, {"k": "v"}),
        lambda tx: tags.add(tx, other, tags.Resource("i"), {"k": "v"}),
        lambda tx: tags.remove(tx, other, resource, ["k"]),
        lambda tx: aliases.associate(tx, other, "i", **both),
        lambda tx: aliases.disassociate(tx, other, "i", **both),
    ):
        with pytest.raises(errors.NotFound, match="Instance i was not found"):
            store.write(attempt)
    assert store.long_read(instances.page, other, after="", limit=10).instances == []
    assert store.long_read(instances.oldest, other) is None
    assert store.count("email_addresses", "tags") == {"email_addresses": 2, "tags": 0}


def test_the_error_names_the_missing_instance(store):
    for attempt in (
        lambda tx: instances.get(tx, TENANT, "j"),
        lambda tx: instances.describe(tx, TENANT, "j"),
        lambda tx: instances.lock(tx, TENANT, "j"),
        lambda tx: instances.delete(tx, TENANT, "j", now=NOW),
    ):
        with pytest.raises(
            errors.NotFound, match="Instance j was not found in account 000000000000 in region us-east-1"
        ):
            store.write(attempt)


def test_deleting_an_instance_deletes_its_email_addresses_and_frees_their_addresses(store, instance):
    create(store, "p", "a")
    associate(store, "p", "a")
    store.write(make_instance, "j")

    store.write(instances.delete, TENANT, "i", now=NOW)

    assert store.read(lambda tx: tx.email_address_by_key("p@example.com")) is None
    create(store, "p", instance_id="j")


def test_a_deleted_instance_leaves_no_rows_and_other_instances_are_unchanged(store, instance):
    store.write(make_instance, "j")
    for instance_id in "ij":
        names = [f"{name}{instance_id}" for name in "pax"]
        create(store, *names, instance_id=instance_id, tags={"k": "v"})
        associate(store, *names[:2], instance_id=instance_id)
        store.write(tags.add, TENANT, tags.Resource(instance_id), {"k": "v"})
    before = store.count(*ALL_TABLES)

    store.write(instances.delete, TENANT, "i", now=NOW)

    assert store.count(*ALL_TABLES) == {table: rows // 2 for table, rows in before.items()}
    check_invariants(store)
    assert ids(store, "j") == ["pj", "aj", "xj"]
    store.write(instances.delete, TENANT, "j", now=NOW)
    assert set(store.count(*ALL_TABLES).values()) == {0}
    with pytest.raises(errors.NotFound):
        store.write(instances.delete, TENANT, "j", now=NOW)


def test_an_instance_that_is_created_again_with_its_old_id_is_empty(store, instance):
    create(store, "a")
    store.write(tags.add, TENANT, tags.Resource("i"), {"k": "v"})
    store.write(instances.delete, TENANT, "i", now=NOW)
    store.write(make_instance)

    assert ids(store) == []
    assert store.read(tags.of, TENANT, tags.Resource("i")) == {}


def test_a_create_and_a_delete_with_a_client_token_happen_once(store):
    def making(new):
        return lambda tx: instances.create(tx, new, tags={}, call=tokened(token="create"))

    assert store.write(making(an_instance())) == "i"
    assert store.write(making(an_instance(id="j"))) == "i"
    removing = {"now": NOW, "call": tokened(token="delete")}
    store.write(instances.delete, TENANT, "i", **removing)
    store.write(instances.delete, TENANT, "i", **removing)
    assert store.count("instances") == {"instances": 0}


def test_instances_are_listed_in_pages(store):
    for name in "abcde":
        store.write(make_instance, name)
    first = store.long_read(instances.page, TENANT, after="", limit=2)
    second = store.long_read(instances.page, TENANT, after=first.next_after, limit=3)

    assert [each.id for each in first.instances + second.instances] == list("abcde")
    assert second.next_after is None


IN_ORDER = ["!", "-", "0", "10", "9", "A", "B", "Z", "_", "a", "aa", "ab", "b", "e\u0301", "z", "é", "ÿ", "א"]
IN_ORDER += ["\ud7ff", "\ue000", "\uffff", "😀", "\U0010ffff"]


def test_instances_are_listed_in_the_order_of_the_code_points_of_their_ids(store):
    for name in sorted(IN_ORDER, key=lambda name: name.encode()[::-1]):
        store.write(make_instance, name)
        store.write(make_instance, f"{name}!", tenant=OTHERS[0])
    found, after = [], ""
    while after is not None:
        page = store.long_read(instances.page, TENANT, after=after, limit=3)
        found += [each.id for each in page.instances]
        after = page.next_after

    assert found == sorted(IN_ORDER) == IN_ORDER


def test_the_last_page_of_instances_has_no_cursor(store):
    assert store.long_read(instances.page, TENANT, after="", limit=1) == instances.Page([], None)
    for name in "ab":
        store.write(make_instance, name)
    assert store.long_read(instances.page, TENANT, after="", limit=2).next_after is None
    assert store.long_read(instances.page, TENANT, after="b", limit=2) == instances.Page([], None)


def test_an_instance_that_exists_throughout_is_listed_once_while_others_change(store):
    for name in "bdfh":
        store.write(make_instance, name)
    found, after = [], ""
    for new, deleted in (("a", None), ("e", "d"), ("g", "e"), ("i", "a")):
        page = store.long_read(instances.page, TENANT, after=after, limit=1)
        found += [each.id for each in page.instances]
        after = page.next_after
        store.write(make_instance, new)
        if deleted:
            store.write(instances.delete, TENANT, deleted, now=NOW)
    found += [each.id for each in store.long_read(instances.page, TENANT, after=after, limit=9).instances]
    assert found == ["b", "d", "e", "f", "g", "h", "i"]


def test_the_oldest_instance_is_the_instance_that_was_created_first(store):
    for name, days in (("a", 2), ("b", 1), ("c", 3)):
        store.write(instances.create, an_instance(id=name, created_at=NOW + timedelta(days=days)), tags={})
    other_tenants = replace(an_instance(id="0"), tenant=OTHERS[0], created_at=NOW)
    store.write(instances.create, other_tenants, tags={})
    assert store.long_read(instances.oldest, TENANT).id == "b"


def test_deleting_email_addresses_one_by_one_leaves_the_instance(store, instance):
    create(store, "a", "b", tags={"k": "v"})
    delete(store, "a", "b")
    assert store.count(*ALL_TABLES) == dict.fromkeys(ALL_TABLES, 0) | {"instances": 1}
