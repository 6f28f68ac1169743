"""Taking mail on both stores: who gets it, what is told of it, and who may see that."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from tests.kit.stores.calls import associate, create, delete, disassociate
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from waypost.app.deployment import Deployment
from waypost.app.directory import email_addresses, instances
from waypost.app.directory.email_addresses import Domains
from waypost.app.mail import accept, explain, trace
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.directory.addresses import Address
from waypost.domain.directory.instances import Tenant
from waypost.domain.mail import messages
from waypost.domain.mail.messages import Envelope
from waypost.domain.mail.routes import Route

DEPLOYMENT = Deployment("mx.example.com", b"k" * 32)
RAW = b"Subject: Hello\r\n\r\nHi\r\n"
MAIL_TABLES = ("messages", "message_bodies", "deliveries", "trace_events")


@pytest.fixture
def house(store, instance):
    """support@ (id `a`) is the alias of queue@ (id `p`); other@ (id `x`) is free."""
    create(store, "p", "a", "x")
    associate(store, "p", "a")
    return store


def accepting(*names, message_id="m1", raw=RAW, now=NOW, header=None, kept=0, deployment=DEPLOYMENT, **of_envelope):
    """The use case that takes a message, for names at example.com or for addresses."""
    recipients = [name if isinstance(name, Address) else addresses.parse(f"{name}@example.com") for name in names]
    envelope = Envelope(
        **{
            "sender": "ann@example.org",
            "recipients": tuple(address.text for address in recipients),
            "helo": "client",
            "peer": "192.0.2.1",
            "protocol": "ESMTP",
        }
        | of_envelope
    )
    return lambda tx: (
        accept.accept_message(
            tx,
            deployment,
            message_id=message_id,
            envelope=envelope,
            recipients=recipients,
            raw=raw,
            now=now,
            header=raw[: messages.end_of_header(raw)] if header is None else header,
            kept=kept,
        ).message
    )


def send(store, *names, **options):
    return store.write(accepting(*names, **options))


def inbox(store, name, account=TENANT.account, **options):
    options = {"after": None, "limit": 10} | options
    return store.long_read(trace.inbox, account, addresses.parse(f"{name}@example.com"), **options)


def copy(store, name, message_id="m1"):
    def whole(tx):
        found = trace.copy(tx, TENANT.account, message_id, addresses.parse(f"{name}@example.com"))
        return found.trace_header + tx.octets(message_id, start=0, limit=found.size)

    return store.long_read(whole)


def test_only_addresses_that_exist_are_recipients(house):
    check = partial(accept.check_recipient, deployment=DEPLOYMENT, sender="", now=NOW)
    house.read(check, address=addresses.parse("A@Example.com"))
    with pytest.raises(errors.UnknownRecipient):
        house.read(check, address=addresses.parse("nobody@example.com"))


def test_mail_to_an_alias_is_in_both_inboxes_byte_for_byte(house):
    message = send(house, "a")

    ((at_alias, seen),) = inbox(house, "a")
    ((at_primary, _),) = inbox(house, "p")
    assert seen == message
    assert (at_alias.reason, at_alias.via) == ("direct", None)
    assert (at_primary.reason, at_primary.via, at_primary.sent_to) == ("forwarded", "a@example.com", "a@example.com")
    assert copy(house, "a").endswith(b"\r\n" + RAW)
    assert copy(house, "p").endswith(b"\r\n" + RAW)
    assert copy(house.another(), "p") == copy(house, "p")


def test_only_the_forwarded_copy_carries_a_loop_token_and_is_refused_when_it_comes_back(house):
    send(house, "a")
    assert b"X-Waypost-Loop" not in copy(house, "a")
    with pytest.raises(errors.MailLoop):
        send(house, "a", message_id="m2", raw=copy(house, "p"))
    send(house, "p", "x", message_id="m3", raw=copy(house, "p"))


def test_the_trace_tells_every_delivery_and_what_was_spared(house):
    send(house, "a", "p")
    found = house.long_read(trace.message_details, TENANT.account, "m1")

    assert [event.kind for event in found.events] == ["accepted", "delivered", "delivered", "spared"]
    assert "which was addressed itself" in found.events[3].detail["because"]


def test_a_message_is_told_of_as_it_came(house):
    given = {"sender": "", "helo": "[IPv6:2001:db8::1]", "peer": "2001:db8::1", "protocol": "UTF8SMTP"}
    now = NOW + timedelta(milliseconds=7)
    message = send(house, "a", now=now, recipients=("A@example.com", 'o"\\é😀'), **given)

    found = house.long_read(trace.message_details, TENANT.account, "m1")
    assert found.message == message
    assert (message.received_at, message.size, message.subject) == (now, len(RAW), "Hello")
    assert message.envelope.recipients == ("A@example.com", 'o"\\é😀')
    assert [event.at for event in found.events] == [now] * 3
    assert found.events[0].detail == {"from": "", "size": len(RAW)} | {
        key: given[key] for key in ("peer", "helo", "protocol")
    }


def test_the_deliveries_of_a_message_are_told_the_direct_ones_first_and_then_by_address(house):
    for name in ("B", "_", "é", "c"):
        created = replace(an_email_address(name), address=addresses.parse(f"{name}@example.com"))
        house.write(email_addresses.create, TENANT, created, tags={})
    send(house, "é", "a", "c", "x", "_", "B")
    found = house.long_read(trace.message_details, TENANT.account, "m1")
    told = [(delivery.reason.value, delivery.address.text[0]) for delivery in found.deliveries]
    assert told == [*(("direct", name) for name in "_aBcxé"), ("forwarded", "p")]
    written = [event.detail["address"][0] for event in found.events if event.kind == "delivered"]
    assert written == ["é", "a", "c", "x", "_", "B", "p"]


def test_a_message_to_many_comes_to_each(store, instance):
    names = [f"e{number:03}" for number in range(100)]
    store.write(lambda tx: [tx.add_email_address(an_email_address(name), {}) for name in names])
    send(store, *names)
    found = store.long_read(trace.message_details, TENANT.account, "m1")
    assert [delivery.email_address_id for delivery in found.deliveries] == names
    assert [event.detail.get("address") for event in found.events] == [None, *(f"{name}@example.com" for name in names)]


def test_a_recipient_deleted_during_the_message_makes_the_sender_try_again(house):
    delete(house, "x")
    with pytest.raises(errors.RecipientsChanged):
        send(house, "a", "x")
    assert inbox(house, "a") == []
    assert set(house.count(*MAIL_TABLES).values()) == {0}


def test_mail_that_fails_in_the_middle_was_never_there(house, engine):
    def half(tx):
        accepting("a")(tx)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        house.write(half)
    assert set(house.count(*MAIL_TABLES).values()) == {0}
    send(house, "a")
    before = house.count(*MAIL_TABLES)
    with pytest.raises(engine.refusal):
        send(house, "x")
    assert house.count(*MAIL_TABLES) == before
    assert inbox(house, "x") == []


def test_mail_accepted_before_a_disassociate_keeps_its_destinations(house):
    send(house, "a")
    disassociate(house, "p", "a")
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


def test_a_message_that_comes_between_two_pages_moves_no_other(house):
    for number in range(4):
        send(house, "x", message_id=f"m{number}")
    seen, after = [], None
    for number in range(4, 8):
        page = inbox(house, "x", after=after, limit=1)
        seen += [message.id for _, message in page]
        after = page[-1][1].id
        send(house, "x", message_id=f"m{number}")
    assert seen == ["m3", "m2", "m1", "m0"]


def test_mail_of_a_deleted_address_stays_readable(house):
    send(house, "x")
    delete(house, "x")

    assert [message.id for _, message in inbox(house, "x")] == ["m1"]
    assert inbox(house, "x", after="m1") == []
    assert copy(house, "x").endswith(RAW)


def test_mail_outlives_its_instance(house):
    send(house, "a", "x")
    house.write(instances.delete, TENANT, "i", now=NOW)
    assert [message.id for _, message in inbox(house, "p")] == ["m1"]
    assert copy(house, "a").endswith(RAW)
    house.write(make_instance)
    create(house, "x")
    send(house, "x", message_id="m2")
    assert [message.id for _, message in inbox(house, "x")] == ["m2", "m1"]


def test_an_address_without_mail_has_an_empty_inbox_and_nobody_has_none(house):
    assert inbox(house, "p") == []
    with pytest.raises(errors.NotFound, match="There is no email address nobody@example\\.com in account 000000000000"):
        inbox(house, "nobody")
    with pytest.raises(errors.NotFound, match="No message m1 was delivered"):
        house.long_read(trace.message_details, TENANT.account, "m1")
    send(house, "a")
    with pytest.raises(errors.NotFound, match="Message m1 was not delivered to x@example\\.com"):
        copy(house, "x")


def test_another_account_sees_neither_mail_nor_trace_nor_explanation(house):
    stranger = "111111111111"
    send(house, "a")
    with pytest.raises(errors.NotFound):
        inbox(house, "a", account=stranger)
    with pytest.raises(errors.NotFound):
        house.long_read(trace.message_details, stranger, "m1")
    with pytest.raises(errors.NotFound):
        house.long_read(trace.copy, stranger, "m1", addresses.parse("a@example.com"))
    assert explained(house, stranger, "a@example.com").plan is None


def test_one_account_sees_only_its_own_part_of_a_message_for_two(house):
    tenant = Tenant("111111111111", "us-east-1")
    house.write(make_instance, "j", tenant=tenant)
    theirs = an_email_address("y", "j", account=tenant.account)
    shared = Domains(shared=frozenset({"example.com"}))
    house.write(email_addresses.create, tenant, theirs, tags={}, domains=shared)
    send(house, "x", "y")

    found = house.long_read(trace.message_details, tenant.account, "m1")
    assert [delivery.address.text for delivery in found.deliveries] == ["y@example.com"]
    assert "x@example.com" not in str(found.events)


def explained(house, account, address):
    return house.read(explain.explain, DEPLOYMENT, account, explain.Asked(addresses.parse(address)), now=NOW)


EXPLAINED = {
    "x": (["x:direct"], "x@example.com is an email address here"),
    "a": (["a:direct", "p:forwarded"], "a@example.com is an alias of p@example.com"),
    "p": (["p:direct"], "Mail sent to its alias a@example.com arrives here too."),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_would_happen_is_explained(house, name):
    deliveries, sentence = EXPLAINED[name]
    found = explained(house, TENANT.account, f"{name}@example.com")

    assert [f"{each.email_address.id}:{each.reason}" for each in found.plan.destinations] == deliveries
    assert sentence in " ".join(found.because)


def test_what_would_be_refused_is_explained_too(house):
    found = explained(house, TENANT.account, "nobody@example.com")
    assert found.plan is None
    assert found.because == ["nobody@example.com is no email address of account 000000000000."]


def account_inbox(store, account=TENANT.account, after=None, limit=100):
    found = store.long_read(trace.account_inbox, account, after=after, limit=limit)
    return [(delivery.id, message.id) for delivery, message in found]


def test_the_mail_of_an_account_is_in_pages_newest_first(house):
    for number in range(3):
        send(house, "a", message_id=f"m{number}")  # two deliveries: at the alias a, and at its primary p
    expected = [(f"m{number}.{at}", f"m{number}") for number in (2, 1, 0) for at in ("p", "a")]
    assert account_inbox(house) == expected
    paged, after = [], None
    while page := account_inbox(house, after=after, limit=1):  # a message is on two pages
        paged += page
        after = page[-1][0]
    assert paged == expected
    assert account_inbox(house, after="m1") == expected[4:]
    assert account_inbox(house, after="m0.a") == account_inbox(house, after="m") == []


def test_the_mail_of_an_account_is_not_that_of_another_and_not_what_was_only_sent_on(house):
    send(house, "a")
    assert account_inbox(house, "999999999999") == []
    routed = replace(DEPLOYMENT, routes=(Route(match="x@example.com", to="smtp://127.0.0.1:1"),))
    send(house, "x", message_id="m2", deployment=routed)
    assert account_inbox(house) == [("m1.p", "m1"), ("m1.a", "m1")]
