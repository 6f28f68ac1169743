"""Instances with more email addresses than one transaction removes: deleted at once, and removed in steps."""

import pytest

from tests.kit.stores.calls import (
    EVERYTHING,
    OTHERS,
    associate,
    associating,
    check_invariants,
    create,
    creating,
    deleting,
    deleting_instance,
    describe,
    ids,
    kinds,
    tokened,
)
from tests.kit.values import NOW, TENANT, make_instance
from tests.store.contract.directory.test_domains import creating_at
from tests.store.contract.test_waiting import while_held
from waypost.app.directory import aliases, email_addresses, instances, tags
from waypost.domain import errors

NAMES = [f"e{number}" for number in range(7)]
TABLES = ("instances", "email_addresses", "alias_link_ends", "tags", "search_entries")


@pytest.fixture(autouse=True)
def _two_at_once(monkeypatch):
    monkeypatch.setattr(instances, "REMOVED_AT_ONCE", 2)


@pytest.fixture
def deleted(store):
    """A store with the instances i and j. The instance i is deleted, but five of its addresses still have rows."""
    store.write(make_instance, alias="support")
    store.write(make_instance, "j")
    create(store, *NAMES, tags={"k": "v"})
    for primary, alias in zip(NAMES[::2], NAMES[1::2], strict=False):
        associate(store, primary, alias)
    store.write(tags.add, TENANT, tags.Resource("i"), {"k": "v"})
    store.write(deleting_instance())
    assert store.count("email_addresses") == {"email_addresses": 5}
    return store


def remove_all(store):
    """Run the steps until nothing is left to remove. Return the number of addresses that each step removed."""
    removed = []
    while True:
        before = store.count("email_addresses")["email_addresses"]
        if not store.write(instances.remove_deleted):
            return removed
        removed.append(before - store.count("email_addresses")["email_addresses"])


def test_steps_remove_a_few_rows_each_until_nothing_is_left(deleted):
    assert deleted.read(lambda tx: tx.has_deleted_instance())
    assert remove_all(deleted) == [2, 2, 1]
    assert deleted.count(*TABLES) == dict.fromkeys(TABLES, 0) | {"instances": 1}
    assert not deleted.read(lambda tx: tx.has_deleted_instance())
    if deleted.engine.name == "sqlite":
        assert deleted.count("search_ranges") == {"search_ranges": 1}


@pytest.mark.parametrize("count", [0, 1, 2, 4], ids=str)
def test_the_steps_end_for_any_number_of_addresses(store, instance, count):
    create(store, *NAMES[:count])
    store.write(deleting_instance())
    remove_all(store)
    assert store.count(*TABLES) == dict.fromkeys(TABLES, 0)


def test_a_small_instance_is_removed_by_the_call_itself(store, instance):
    create(store, "a")
    store.write(deleting_instance())
    assert store.count(*TABLES) == dict.fromkeys(TABLES, 0)


def test_several_deleted_instances_are_removed_one_after_the_other(deleted):
    create(deleted, *(f"{name}j" for name in NAMES), instance_id="j")
    deleted.write(deleting_instance("j"))
    assert sum(remove_all(deleted)) == 10
    assert deleted.count(*TABLES) == dict.fromkeys(TABLES, 0)


def test_no_call_finds_a_deleted_instance_or_its_addresses(deleted):
    resource, texts = tags.Resource("i", "e5"), {"display_name": "", "description": "", "now": NOW}
    pair = {"primary_id": "e5", "alias_id": "e6", "now": NOW}
    for call in (
        lambda tx: instances.get(tx, TENANT, "i"),
        lambda tx: instances.keep(tx, TENANT, "i"),
        lambda tx: instances.lock(tx, TENANT, "i"),
        lambda tx: instances.describe(tx, TENANT, "i"),
        deleting_instance(),
        creating("new"),
        creating("new", quota=9),
        lambda tx: email_addresses.describe(tx, TENANT, "i", "e5"),
        lambda tx: email_addresses.update_metadata(tx, TENANT, "i", "e5", **texts),
        deleting("e5"),
        associating("e6", "e5"),
        lambda tx: aliases.disassociate(tx, TENANT, "i", **pair),
        lambda tx: tags.of(tx, TENANT, resource),
        lambda tx: tags.of(tx, TENANT, tags.Resource("i")),
        lambda tx: tags.add(tx, TENANT, resource, {"k": "v"}),
        lambda tx: tags.remove(tx, TENANT, tags.Resource("i"), ["k"]),
        lambda tx: email_addresses.search_page(tx, TENANT, "i", EVERYTHING, after=None, limit=9, count_up_to=9),
    ):
        with pytest.raises(errors.NotFound, match="Instance i was not found"):
            deleted.write(call)
    assert [each.id for each in deleted.long_read(instances.page, TENANT, after="", limit=9).instances] == ["j"]
    assert deleted.read(lambda tx: tx.instance_tags(TENANT, "i")) == {}
    remove_all(deleted)


def test_mail_finds_no_address_of_a_deleted_instance(deleted):
    def found(tx):
        key = "e5@example.com"
        return (
            tx.email_address_by_key(key),
            tx.email_address_by_id("e5"),
            dict(tx.owners([key]).found),
            tx.has_address_in(TENANT.account, "example.com"),
            tx.others_have_address_in("another account", "example.com"),
        )

    assert deleted.read(found) == (None, None, {}, False, False)


def test_regions_of_deleted_instances_are_not_listed(store):
    store.write(make_instance, "k", OTHERS[1])
    create(store, *NAMES, instance_id="k", tenant=OTHERS[1])
    store.write(deleting_instance("k", OTHERS[1]))
    assert store.count("instances") == {"instances": 1}
    assert store.long_read(lambda tx: tx.regions()) == []


def test_the_alias_of_a_deleted_instance_can_be_used_again(deleted):
    deleted.write(make_instance, "k", alias="Support")
    remove_all(deleted)
    assert deleted.read(lambda tx: tx.has_instance_alias("support"))


def test_an_address_whose_old_row_still_waits_for_removal_is_created_again(deleted):
    """The new address replaces the old row, and keeps its own link, tags and search entry."""
    for name in ("e2", "e5"):
        new = creating_at(f"{name}@example.com", "j")
        deleted.write(new)
    deleted.write(associating("e2@example.com", "e5@example.com", instance_id="j"))
    assert remove_all(deleted) == [2, 1]
    assert sorted(ids(deleted, "j")) == ["e2@example.com", "e5@example.com"]
    assert describe(deleted, "e2@example.com", "j").link.alias_id == "e5@example.com"
    assert deleted.read(lambda tx: tx.email_address_by_key("e5@example.com")).id == "e5@example.com"
    with pytest.raises(errors.Duplicate):
        deleted.write(creating_at("e2@example.com", "j"))
    check_invariants(deleted)


def test_another_account_can_use_the_domain_of_a_deleted_instance_at_once(deleted):
    deleted.write(make_instance, "k", OTHERS[0])
    deleted.write(creating_at("e5@example.com", "k", OTHERS[0]))
    with pytest.raises(errors.Conflict, match="belongs to another account"):
        deleted.write(creating_at("x@example.com", "j"))
    remove_all(deleted)
    with pytest.raises(errors.Conflict, match="belongs to another account"):
        deleted.write(creating_at("x@example.com", "j"))


def test_an_account_keeps_its_domain_while_rows_of_its_other_instance_are_removed(deleted):
    deleted.write(make_instance, "j2", OTHERS[0])
    deleted.write(creating_at("x@example.com", "j"))
    with pytest.raises(errors.Conflict, match="belongs to another account"):
        deleted.write(creating_at("y@example.com", "j2", OTHERS[0]))


def test_a_repeated_call_with_a_client_token_is_answered_while_rows_remain(store, instance):
    create(store, *NAMES)
    for _ in range(2):
        store.write(instances.delete, TENANT, "i", now=NOW, call=tokened())
    assert store.count("instances") == {"instances": 1}


def test_other_writers_run_between_the_steps(deleted):
    """Each step and each other write is a separate transaction, and no step removes more than its limit."""
    order = []

    def step(tx):
        before = _count(tx)
        more = instances.remove_deleted(tx)
        order.append(f"step of {before - _count(tx)}")
        return more

    def other(tx, name):
        order.append(name)
        return creating(name, "j")(tx)

    async def scenario():
        while await deleted.store.write(step):
            await deleted.store.write(lambda tx: other(tx, f"new{len(order)}"))

    deleted.run(scenario())
    assert order == ["step of 2", "new1", "step of 2", "new3", "step of 1", "new5", "step of 0"]
    assert sorted(ids(deleted, "j")) == ["new1", "new3", "new5"]


def _count(tx):
    return tx.connection.execute("SELECT count(*) FROM email_addresses WHERE instance_id = 'i'").fetchone()[0]


def test_steps_of_two_servers_and_new_addresses_at_the_same_time_leave_whole_data(deleted, race):
    again = [creating_at(f"{name}@example.com", "j") for name in NAMES]
    outcomes = race(*again, *[instances.remove_deleted] * 9)
    assert set(kinds(outcomes)) <= {"done", "str", "bool"}
    assert len(ids(deleted, "j")) == len(NAMES)
    remove_all(deleted)
    check_invariants(deleted)
    assert deleted.count("instances", "email_addresses", "alias_link_ends") == {
        "instances": 1,
        "email_addresses": len(NAMES),
        "alias_link_ends": 0,
    }


@pytest.mark.usefixtures("_needs_concurrent_writers")
def test_a_step_skips_rows_that_a_call_has_locked_and_removes_them_later(deleted):
    def locks_a_row(tx):
        return tx.connection.execute("SELECT id FROM email_addresses WHERE id = 'e3' FOR UPDATE").fetchone()[0]

    def steps(tx):
        while instances.remove_deleted(tx):
            pass

    assert while_held(deleted, locks_a_row, steps) == ["e3", None]
    assert deleted.rows("SELECT id FROM email_addresses") == [("e3",)]
    assert remove_all(deleted) == [1]
    assert deleted.count("instances") == {"instances": 1}


@pytest.mark.usefixtures("_needs_concurrent_writers")
def test_a_second_server_skips_an_instance_whose_rows_another_server_removes(deleted):
    assert while_held(deleted, lambda tx: tx.lock_deleted_instance(), instances.remove_deleted) == ["i", False]


@pytest.mark.usefixtures("_needs_concurrent_writers")
def test_a_call_that_creates_an_address_is_finished_before_its_instance_is_deleted(store, instance, race):
    """No address is created in an instance after its deletion, although creates do not wait for each other."""
    create(store, *NAMES)
    outcomes = race(*(creating(f"x{number}") for number in range(6)), deleting_instance())
    created = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert set(kinds(outcomes)) <= {"str", "NotFound", "NoneType", "done"}
    assert len(created) + sum(isinstance(one, errors.NotFound) for one in outcomes) == 6
    remove_all(store)
    assert store.count(*TABLES) == dict.fromkeys(TABLES, 0)
