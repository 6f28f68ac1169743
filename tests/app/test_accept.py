"""Taking mail, one transaction at a time."""

import pytest

from tests.values import NOW, TENANT, an_email_address, make_instance
from waypost.app import accept, aliases, email_addresses, trace
from waypost.domain import addresses, errors
from waypost.domain.instances import Tenant
from waypost.domain.messages import Envelope

DEPLOYMENT = accept.Deployment("mx.example.com", b"k" * 32)
RAW = b"Subject: Hello\r\n\r\nHi\r\n"


@pytest.fixture
def house(tx, instance):
    """support@ (id `a`) is the alias of queue@ (id `p`); other@ (id `x`) is free."""
    for name in ("p", "a", "x"):
        email_addresses.create(tx, TENANT, an_email_address(name), tags={})
    aliases.associate(tx, TENANT, "i", primary_id="p", alias_id="a", now=NOW)
    return tx


def send(tx, *names, message_id="m1", raw=RAW):
    recipients = [addresses.parse(f"{name}@example.com") for name in names]
    envelope = Envelope(
        sender="ann@example.org",
        recipients=tuple(address.text for address in recipients),
        helo="client",
        peer="192.0.2.1",
        protocol="ESMTP",
    )
    return accept.accept_message(
        tx, DEPLOYMENT, message_id=message_id, envelope=envelope, recipients=recipients, raw=raw, now=NOW
    )


def inbox(tx, name, account=TENANT.account, **options):
    options = {"after": None, "limit": 10} | options
    return trace.inbox(tx, account, addresses.parse(f"{name}@example.com"), **options)


def copy(tx, name, message_id="m1"):
    found = trace.copy(tx, TENANT.account, message_id, addresses.parse(f"{name}@example.com"))
    return found.trace_header + tx.octets(message_id, start=0, limit=found.size)


def test_only_addresses_that_exist_are_recipients(house):
    accept.check_recipient(house, addresses.parse("A@Example.com"))
    with pytest.raises(errors.UnknownRecipient):
        accept.check_recipient(house, addresses.parse("nobody@example.com"))


def test_mail_to_an_alias_is_in_both_inboxes_byte_for_byte(house):
    message = send(house, "a")

    ((at_alias, seen),) = inbox(house, "a")
    ((at_primary, _),) = inbox(house, "p")
    assert seen == message
    assert (at_alias.reason, at_alias.via) == ("direct", None)
    assert (at_primary.reason, at_primary.via, at_primary.sent_to) == ("forwarded", "a@example.com", "a@example.com")
    assert copy(house, "a").endswith(b"\r\n" + RAW)
    assert copy(house, "p").endswith(b"\r\n" + RAW)


def test_only_the_forwarded_copy_carries_a_loop_token_and_is_refused_when_it_comes_back(house):
    send(house, "a")
    assert b"X-Waypost-Loop" not in copy(house, "a")
    with pytest.raises(errors.MailLoop):
        send(house, "a", message_id="m2", raw=copy(house, "p"))
    send(house, "p", "x", message_id="m3", raw=copy(house, "p"))


def test_the_trace_tells_every_delivery_and_what_was_spared(house):
    send(house, "a", "p")
    found = trace.message_details(house, TENANT.account, "m1")

    assert [event.kind for event in found.events] == ["accepted", "delivered", "delivered", "spared"]
    assert "which was addressed itself" in found.events[3].detail["because"]


def test_a_recipient_deleted_during_the_message_makes_the_sender_try_again(house):
    email_addresses.delete(house, TENANT, "i", "x")
    with pytest.raises(errors.RecipientsChanged):
        send(house, "a", "x")
    assert inbox(house, "a") == []


def test_mail_accepted_before_a_disassociate_keeps_its_destinations(house):
    send(house, "a")
    aliases.disassociate(house, TENANT, "i", primary_id="p", alias_id="a", now=NOW)
    send(house, "a", message_id="m2")

    assert [message.id for _, message in inbox(house, "a")] == ["m2", "m1"]
    assert [message.id for _, message in inbox(house, "p")] == ["m1"]


def test_an_inbox_comes_in_pages_newest_first(house):
    for number in range(5):
        send(house, "x", message_id=f"m{number}")
    page = inbox(house, "x", limit=2)
    rest = inbox(house, "x", after=page[-1][1].id)

    assert [message.id for _, message in page + rest] == ["m4", "m3", "m2", "m1", "m0"]
    assert inbox(house, "x", after="m0") == []


def test_mail_of_a_deleted_address_stays_readable(house):
    send(house, "x")
    email_addresses.delete(house, TENANT, "i", "x")

    assert [message.id for _, message in inbox(house, "x")] == ["m1"]
    assert inbox(house, "x", after="m1") == []
    assert copy(house, "x").endswith(RAW)


def test_another_account_sees_neither_mail_nor_trace_nor_explanation(house):
    stranger = "111111111111"
    send(house, "a")
    with pytest.raises(errors.NotFound):
        inbox(house, "a", account=stranger)
    with pytest.raises(errors.NotFound):
        trace.message_details(house, stranger, "m1")
    with pytest.raises(errors.NotFound):
        trace.copy(house, stranger, "m1", addresses.parse("a@example.com"))
    assert accept.explain(house, stranger, addresses.parse("a@example.com")).plan is None


def test_one_account_sees_only_its_own_part_of_a_message_for_two(house):
    tenant = Tenant("111111111111", "us-east-1")
    make_instance(house, "j", tenant=tenant)
    theirs = an_email_address("y", "j", account=tenant.account)
    email_addresses.create(house, tenant, theirs, tags={})
    send(house, "x", "y")

    found = trace.message_details(house, tenant.account, "m1")
    assert [delivery.address.text for delivery in found.deliveries] == ["y@example.com"]
    assert "x@example.com" not in str(found.events)


EXPLAINED = {
    "x": (["x:direct"], "x@example.com is an email address here"),
    "a": (["a:direct", "p:forwarded"], "a@example.com is an alias of p@example.com"),
    "p": (["p:direct"], "Mail sent to its alias a@example.com arrives here too."),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_would_happen_is_explained(house, name):
    deliveries, sentence = EXPLAINED[name]
    found = accept.explain(house, TENANT.account, addresses.parse(f"{name}@example.com"))

    assert [f"{each.email_address.id}:{each.reason}" for each in found.plan.destinations] == deliveries
    assert sentence in " ".join(found.because)


def test_what_would_be_refused_is_explained_too(house):
    found = accept.explain(house, TENANT.account, addresses.parse("nobody@example.com"))
    assert found.plan is None
    assert found.because == ["nobody@example.com is no email address of account 000000000000."]
