"""Accepting mail on both stores: its deliveries, its trace, and the accounts that can see them."""

from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import associate, create, delete, disassociate
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from waypost.app.deployment import Deployment
from waypost.app.directory import email_addresses, instances
from waypost.app.directory.email_addresses import Domains
from waypost.app.mail import accept, bounces, explain, trace
from waypost.app.mail.faults import FaultRules
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.directory.addresses import Address
from waypost.domain.directory.instances import Tenant
from waypost.domain.mail import messages
from waypost.domain.mail.messages import Envelope
from waypost.domain.mail.trace_events import AcceptedEvent

DEPLOYMENT = Deployment("mx.example.com", b"k" * 32)
RAW = b"Subject: Hello\r\n\r\nHi\r\n"
MAIL_TABLES = ("messages", "message_bodies", "deliveries", "trace_events")


@pytest.fixture
def system(store, instance):
    """A store with the email addresses p, a and x at example.com, in which a is the alias of p."""
    create(store, "p", "a", "x")
    associate(store, "p", "a")
    return store


def accepting(*names, message_id="m1", raw=RAW, now=NOW, header=None, kept=0, deployment=DEPLOYMENT, **of_envelope):
    """Return the use case that accepts a message. The recipients are names at example.com, or addresses."""
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
            content=accept.examine(
                raw[: messages.end_of_header(raw)] if header is None else header,
                hostname=deployment.hostname,
                sender=envelope.sender,
                bounce=raw if envelope.sender == "" else b"",
            ),
            originals=[] if envelope.sender else found_originals(tx, deployment, recipients, now),
            raw=raw,
            kept=kept,
            now=now,
        ).message
    )


def found_originals(tx, deployment, recipients, now):
    found = [bounces.find(tx, deployment, recipient, now) for recipient in recipients]
    return [original for original in found if original]


def send(store, *names, **options):
    message = store.write(accepting(*names, **options))
    deployment, now = options.get("deployment", DEPLOYMENT), options.get("now", NOW)
    while store.write(accept.store_planned, deployment, message_id=message.id, now=now):
        pass
    return message


def inbox(store, name, account=TENANT.account, **options):
    options = {"after": None, "limit": 10} | options
    return store.long_read(trace.inbox, account, addresses.parse(f"{name}@example.com"), **options)


def copy(store, name, message_id="m1"):
    def whole(tx):
        found = trace.copy(tx, TENANT.account, message_id, addresses.parse(f"{name}@example.com"))
        return found.trace_header + tx.octets(message_id, start=0, limit=found.size)

    return store.long_read(whole)


def test_only_addresses_that_exist_are_recipients(system):
    check = partial(accept.check_recipient, deployment=DEPLOYMENT, sender="", now=NOW)
    system.read(check, address=addresses.parse("A@Example.com"))
    with pytest.raises(errors.UnknownRecipient):
        system.read(check, address=addresses.parse("nobody@example.com"))


def test_mail_to_an_alias_is_in_both_inboxes_byte_for_byte(system):
    message = send(system, "a")

    ((at_alias, seen),) = inbox(system, "a")
    ((at_primary, _),) = inbox(system, "p")
    assert seen == message
    assert (at_alias.reason, at_alias.via) == ("direct", None)
    assert (at_primary.reason, at_primary.via, at_primary.sent_to) == ("forwarded", "a@example.com", "a@example.com")
    assert copy(system, "a").endswith(b"\r\n" + RAW)
    assert copy(system, "p").endswith(b"\r\n" + RAW)
    assert copy(system.another(), "p") == copy(system, "p")


def test_only_the_forwarded_copy_has_a_loop_token_and_is_refused_if_it_returns(system):
    send(system, "a")
    assert b"X-Waypost-Loop" not in copy(system, "a")
    with pytest.raises(errors.MailLoop):
        send(system, "a", message_id="m2", raw=copy(system, "p"))
    send(system, "p", "x", message_id="m3", raw=copy(system, "p"))


def test_the_trace_has_every_delivery_and_every_duplicate_that_was_left_out(system):
    send(system, "a", "p")
    found = system.long_read(trace.message_details, TENANT.account, "m1")

    assert [event.kind for event in found.events] == ["accepted", "delivered", "delivered", "spared"]
    assert "which was also addressed directly" in found.events[3].detail.because


def test_the_details_of_a_message_are_shown_as_received(system):
    given = {"sender": "", "helo": "[IPv6:2001:db8::1]", "peer": "2001:db8::1", "protocol": "UTF8SMTP"}
    now = NOW + timedelta(milliseconds=7)
    message = send(system, "a", now=now, recipients=("A@example.com", 'o"\\é😀'), **given)

    found = system.long_read(trace.message_details, TENANT.account, "m1")
    assert found.message == message
    assert (message.received_at, message.size, message.subject) == (now, len(RAW), "Hello")
    assert message.envelope.recipients == ("A@example.com", 'o"\\é😀')
    assert [event.at for event in found.events] == [now] * 3
    assert found.events[0].detail == AcceptedEvent(**given, size=len(RAW))


def test_direct_deliveries_are_listed_first_and_then_by_address(system):
    for name in ("B", "_", "é", "c"):
        created = replace(an_email_address(name), address=addresses.parse(f"{name}@example.com"))
        system.write(email_addresses.create, TENANT, created, tags={})
    send(system, "é", "a", "c", "x", "_", "B")
    found = system.long_read(trace.message_details, TENANT.account, "m1")
    listed = [(delivery.reason.value, delivery.address.text[0]) for delivery in found.deliveries]
    assert listed == [*(("direct", name) for name in "_aBcxé"), ("forwarded", "p")]
    written = [event.detail.address[0] for event in found.events if event.kind == "delivered"]
    assert written == ["é", "a", "c", "x", "_", "B", "p"]


def test_a_message_to_many_recipients_is_delivered_to_each(store, instance):
    names = [f"e{number:03}" for number in range(100)]
    store.write(lambda tx: [tx.add_email_address(an_email_address(name), {}) for name in names])
    send(store, *names)
    found = store.long_read(trace.message_details, TENANT.account, "m1")
    assert [delivery.email_address_id for delivery in found.deliveries] == names
    accepted, *delivered = found.events
    assert accepted.kind == "accepted"
    assert [event.detail.address for event in delivered] == [f"{name}@example.com" for name in names]


def test_a_message_is_deferred_if_a_recipient_is_deleted_during_the_transfer(system):
    delete(system, "x")
    with pytest.raises(errors.RecipientsChanged):
        send(system, "a", "x")
    assert inbox(system, "a") == []
    assert set(system.count(*MAIL_TABLES).values()) == {0}


def test_a_message_whose_transaction_fails_leaves_no_rows(system, engine):
    def half(tx):
        accepting("a")(tx)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        system.write(half)
    assert set(system.count(*MAIL_TABLES).values()) == {0}
    send(system, "a")
    before = system.count(*MAIL_TABLES)
    with pytest.raises(engine.refusal):
        send(system, "x")
    assert system.count(*MAIL_TABLES) == before
    assert inbox(system, "x") == []


def test_mail_that_was_accepted_before_a_disassociate_keeps_its_deliveries(system):
    send(system, "a")
    disassociate(system, "p", "a")
    send(system, "a", message_id="m2")

    assert [message.id for _, message in inbox(system, "a")] == ["m2", "m1"]
    assert [message.id for _, message in inbox(system, "p")] == ["m1"]


def test_an_inbox_comes_in_pages_newest_first(system):
    for number in range(5):
        send(system, "x", message_id=f"m{number}")
    page = inbox(system, "x", limit=2)
    rest = inbox(system, "x", after=page[-1][1].id)

    assert [message.id for _, message in page + rest] == ["m4", "m3", "m2", "m1", "m0"]
    assert inbox(system, "x", after="m0") == []


def test_a_message_that_arrives_between_two_pages_does_not_shift_the_others(system):
    for number in range(4):
        send(system, "x", message_id=f"m{number}")
    seen, after = [], None
    for number in range(4, 8):
        page = inbox(system, "x", after=after, limit=1)
        seen += [message.id for _, message in page]
        after = page[-1][1].id
        send(system, "x", message_id=f"m{number}")
    assert seen == ["m3", "m2", "m1", "m0"]


def test_the_mail_of_a_deleted_address_stays_readable(system):
    send(system, "x")
    delete(system, "x")

    assert [message.id for _, message in inbox(system, "x")] == ["m1"]
    assert inbox(system, "x", after="m1") == []
    assert copy(system, "x").endswith(RAW)


def test_mail_stays_readable_after_its_instance_is_deleted(system):
    send(system, "a", "x")
    system.write(instances.delete, TENANT, "i", now=NOW)
    assert [message.id for _, message in inbox(system, "p")] == ["m1"]
    assert copy(system, "a").endswith(RAW)
    system.write(make_instance)
    create(system, "x")
    send(system, "x", message_id="m2")
    assert [message.id for _, message in inbox(system, "x")] == ["m2", "m1"]


def test_an_address_without_mail_has_an_empty_inbox_and_an_unknown_address_has_no_inbox(system):
    assert inbox(system, "p") == []
    with pytest.raises(errors.NotFound, match="There is no email address nobody@example\\.com in account 000000000000"):
        inbox(system, "nobody")
    with pytest.raises(errors.NotFound, match="No message m1 was delivered"):
        system.long_read(trace.message_details, TENANT.account, "m1")
    send(system, "a")
    with pytest.raises(errors.NotFound, match="Message m1 was not delivered to x@example\\.com"):
        copy(system, "x")


def test_another_account_cannot_see_the_mail_the_trace_or_the_explanation(system):
    other_account = "111111111111"
    send(system, "a")
    with pytest.raises(errors.NotFound):
        inbox(system, "a", account=other_account)
    with pytest.raises(errors.NotFound):
        system.long_read(trace.message_details, other_account, "m1")
    with pytest.raises(errors.NotFound):
        system.long_read(trace.copy, other_account, "m1", addresses.parse("a@example.com"))
    assert explained(system, other_account, "a@example.com").plan is None


def test_an_account_sees_only_its_own_deliveries_of_a_message_to_two_accounts(system):
    tenant = Tenant("111111111111", "us-east-1")
    system.write(make_instance, "j", tenant=tenant)
    theirs = an_email_address("y", "j", account=tenant.account)
    shared = Domains(shared=frozenset({"example.com"}))
    system.write(email_addresses.create, tenant, theirs, tags={}, domains=shared)
    send(system, "x", "y")

    found = system.long_read(trace.message_details, tenant.account, "m1")
    assert [delivery.address.text for delivery in found.deliveries] == ["y@example.com"]
    assert "x@example.com" not in str(found.events)


def explained(system, account, address):
    asked = explain.Asked(addresses.parse(address))
    return system.read(explain.explain, DEPLOYMENT, account, asked, now=NOW, faults=FaultRules())


EXPLAINED = {
    "x": (["x:direct"], "The mail is kept in the inbox of the email address x@example.com."),
    "a": (["a:direct", "p:forwarded"], "a@example.com is an alias of p@example.com"),
    "p": (["p:direct"], "Mail sent to a@example.com, an alias of p@example.com, is also delivered to p@example.com."),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_explain_describes_what_would_happen_to_a_message(system, name):
    deliveries, sentence = EXPLAINED[name]
    found = explained(system, TENANT.account, f"{name}@example.com")

    assert [f"{each.email_address.id}:{each.reason}" for each in found.plan.destinations] == deliveries
    assert sentence in " ".join(found.because)


def test_explain_describes_why_a_recipient_would_be_refused(system):
    found = explained(system, TENANT.account, "nobody@example.com")
    assert found.plan is None
    assert found.because == ["nobody@example.com is not an email address of account 000000000000."]
