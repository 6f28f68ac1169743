"""A replay forwards an alias's mail again, on both stores, and an inbox never gets the same message twice."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import all_deliveries_of, associate, create, delete
from tests.kit.values import NOW, TENANT, an_email_address
from tests.store.contract.mail.test_mail import DEPLOYMENT, send
from waypost.app.directory import email_addresses
from waypost.app.queue import redrive
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import Status
from waypost.domain.mail.routes import Route

PEER = "smtp://peer.example:25"
ROUTED = replace(DEPLOYMENT, routes=(Route(match="p@example.com", to=PEER),), routes_revision="1")


@pytest.fixture
def system(store, instance):
    """A store with the email addresses p and a at example.com, in which a is the alias of p."""
    create(store, "p", "a")
    associate(store, "p", "a")
    return store


def replay(store, alias, deployment=DEPLOYMENT):
    """Forward the mail of an alias again, and return the number of messages."""
    address, since = addresses.parse(f"{alias}@example.com"), NOW - timedelta(hours=1)
    return store.write(redrive.replay, deployment, TENANT.account, address, since=since, now=NOW).done


def create_again(store):
    """Create an email address with another id and the address of p, which was deleted, and make a its alias."""
    store.write(email_addresses.create, TENANT, replace(an_email_address("p"), id="p2"), tags={})
    associate(store, "p2", "a")


def give_up(tx):
    """Make all deliveries that wait dead letters."""
    tx.connection.execute("DELETE FROM queue")
    tx.connection.execute("UPDATE deliveries SET status = 'dead' WHERE status = 'queued'")


def deliveries_to_p(store):
    found = store.read(lambda tx: all_deliveries_of(tx, "m1"))
    return [(one.email_address_id, one.status) for one in found if one.address.text == "p@example.com"]


@pytest.mark.parametrize("recipients", [("a",), ("a", "p")], ids=["forwarded", "sent to both"])
def test_a_replay_to_an_address_that_was_created_again_does_not_deliver_a_message_twice(system, recipients):
    send(system, *recipients)
    delete(system, "p")
    create_again(system)
    assert replay(system, "a") == 0
    assert deliveries_to_p(system) == [("p", Status.DELIVERED)]


def test_a_replay_forwards_mail_to_the_address_of_the_new_primary_if_it_does_not_have_it(system):
    delete(system, "p")
    send(system, "a")
    create_again(system)
    assert replay(system, "a") == 1
    assert deliveries_to_p(system) == [("p2", Status.DELIVERED)]
    assert replay(system, "a") == 0


def test_a_replay_over_a_route_sends_mail_again_to_an_address_that_was_created_again(system):
    send(system, "a", deployment=ROUTED)
    system.write(give_up)
    delete(system, "p")
    create_again(system)
    assert replay(system, "a", ROUTED) == 1
    assert deliveries_to_p(system) == [("p", Status.QUEUED)]
    assert replay(system, "a", ROUTED) == 0
