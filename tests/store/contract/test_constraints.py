"""The data that the schemas refuse, even if a use case forgot to check it, and the errors that are raised."""

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import OTHERS, check_invariants, create
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from waypost.app.directory import instances
from waypost.domain import errors
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.instances import Instance


@pytest.fixture
def linked(store, instance):
    """A store with the email addresses p, a, b and c, in which a is the alias of p."""
    create(store, *"pabc")
    store.write(lambda tx: tx.add_link(AliasLink("p", "a", NOW)))
    yield store
    assert store.rows("SELECT email_address_id, side, other_id FROM alias_link_ends ORDER BY 1") == [
        ("a", "alias", "p"),
        ("p", "primary", "a"),
    ]
    check_invariants(store)


@pytest.mark.parametrize(("primary", "alias"), [("p", "b"), ("b", "a"), ("a", "b"), ("b", "p"), ("p", "a"), ("a", "p")])
def test_an_email_address_can_be_in_only_one_alias_link(linked, primary, alias):
    with pytest.raises(errors.Conflict, match="already in an alias link"):
        linked.write(lambda tx: tx.add_link(AliasLink(primary, alias, NOW)))


END = "INSERT INTO alias_link_ends (email_address_id, side, other_id, other_side, created_at) VALUES "
IMPOSSIBLE = {
    "one row only": END + "('b', 'primary', 'c', 'alias', 0)",
    "two primaries": END + "('b', 'primary', 'c', 'primary', 0), ('c', 'primary', 'b', 'primary', 0)",
    "an unknown side": END + "('b', 'both', 'c', 'alias', 0), ('c', 'alias', 'b', 'both', 0)",
    "a link to itself": END + "('b', 'primary', 'b', 'alias', 0)",
    "a circle of three": END
    + "('b', 'primary', 'c', 'alias', 0), ('c', 'alias', 'x', 'primary', 0), ('x', 'primary', 'b', 'alias', 0)",
    "one row deleted": "DELETE FROM alias_link_ends WHERE email_address_id = 'p'",
    "sides swapped": "UPDATE alias_link_ends SET side = 'alias', other_side = 'primary' WHERE email_address_id = 'p'",
    "one row changed": "UPDATE alias_link_ends SET other_id = 'b' WHERE email_address_id = 'p'",
    "a linked email address deleted": "DELETE FROM email_addresses WHERE id = 'a'",
    "an instance with email addresses deleted": "DELETE FROM instances",
    "an email address deleted without its search entry": "DELETE FROM email_addresses WHERE id = 'b'",
    "an email address without an instance": "UPDATE email_addresses SET instance_id = 'nobody' WHERE id = 'b'",
    "a tag without a value": "INSERT INTO tags (resource_id, key, value) VALUES ('b', 'k', NULL)",
    "an email address without an address": "UPDATE email_addresses SET address = NULL",
}


@pytest.mark.parametrize("attempt", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_the_schema_refuses_impossible_data_even_without_the_use_cases(linked, engine, attempt):
    if "'x'" in attempt:
        create(linked, "x")
    with pytest.raises((engine.refusal, errors.NotFound)):  # NotFound: if the instance seems to be deleted
        linked.write(lambda tx: tx.connection.execute(attempt))


def test_an_alias_link_needs_two_different_email_addresses_that_exist(linked, engine):
    for primary, alias in (("b", "nobody"), ("nobody", "b"), ("b", "b")):
        with pytest.raises((engine.refusal, errors.Conflict)):
            linked.write(lambda tx, *ends: tx.add_link(AliasLink(*ends, NOW)), primary, alias)


def test_deleting_an_instance_deletes_its_email_addresses_and_links(store, instance):
    create(store, *"pa")
    store.write(lambda tx: tx.add_link(AliasLink("p", "a", NOW)))
    store.write(instances.delete, TENANT, "i", now=NOW)
    check_invariants(store)
    assert store.count("alias_link_ends", "email_addresses") == {"alias_link_ends": 0, "email_addresses": 0}


def an_instance(instance_id, alias):
    return Instance(
        id=instance_id,
        tenant=OTHERS[0],
        alias=alias,
        identity_management_type="SAML",
        directory_id=None,
        inbound_calls_enabled=False,
        outbound_calls_enabled=False,
        created_at=NOW,
    )


def test_the_schema_refuses_a_duplicate_address_and_a_duplicate_instance_alias(store):
    store.write(make_instance, alias="Support")
    create(store, "a")
    again = replace(an_email_address("b"), address=an_email_address("a").address)
    with pytest.raises(errors.Duplicate, match="This email address already exists"):
        store.write(lambda tx: tx.add_email_address(again, {"k": "v"}))
    with pytest.raises(errors.Duplicate, match=r"^Invalid Input\. Instance alias is already used\.$"):
        store.write(lambda tx: tx.add_instance(an_instance("j", "SUPPORT"), {"k": "v"}))
    assert store.count("tags", "instances", "search_entries") == {"tags": 0, "instances": 1, "search_entries": 1}


def test_an_email_address_needs_an_instance_that_exists(store, engine):
    # SQLite does not report which foreign key was violated. With a single writer, no race can violate one.
    with pytest.raises(errors.NotFound if engine.name == "postgres" else engine.refusal):
        store.write(lambda tx: tx.add_email_address(an_email_address("a", "nobody"), {"k": "v"}))
    assert store.count("email_addresses", "tags") == {"email_addresses": 0, "tags": 0}


def test_an_id_is_unique(store, engine, instance):
    create(store, "a")
    again = replace(an_email_address("b"), id="a")
    for attempt in (
        lambda tx: tx.add_email_address(again, {}),
        lambda tx: tx.add_instance(an_instance("i", None), {}),
    ):
        with pytest.raises(engine.refusal):
            store.write(attempt)
    assert store.count("email_addresses", "instances") == {"email_addresses": 1, "instances": 1}
