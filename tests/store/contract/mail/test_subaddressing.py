"""Mail to subaddresses such as support+x@: RCPT, the delivery, the trace and `explain` give the same result."""

from functools import partial

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import OTHERS, associate, create, delete
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from tests.store.contract.mail.test_mail import DEPLOYMENT
from tests.store.contract.mail.test_refusals import a_refusal
from waypost.app.mail import accept, explain, notify, trace
from waypost.app.mail.faults import FaultRules
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail.messages import Dsn, Envelope, RecipientDsn
from waypost.domain.mail.trace_events import SparedEvent

WITH_SUBADDRESSES = replace(DEPLOYMENT, subaddressed=frozenset({"example.com"}))
RAW = b"Subject: Hello\r\n\r\nHi\r\n"
BY_RULE = "Support+Order@Example.com is a subaddress of support@example.com (--subaddressing is on for example.com). "


def address(text):
    return addresses.parse(text)


@pytest.fixture
def system(store, instance):
    """A store in which support@example.com is an alias of queue@example.com."""
    for name in ("support", "queue"):
        create(store, name)
    associate(store, "queue", "support")
    return store


def is_recipient(store, text, deployment=WITH_SUBADDRESSES):
    check = partial(accept.check_recipient, deployment=deployment, sender="ann@example.org", now=NOW)
    try:
        store.read(check, address=address(text))
    except errors.UnknownRecipient:
        return False
    return True


def explained(store, text, deployment=WITH_SUBADDRESSES, account=TENANT.account):
    asked = explain.Asked(address(text))
    return store.long_read(lambda tx: explain.explain(tx, deployment, account, asked, now=NOW, faults=FaultRules()))


def send(store, *recipients, deployment=WITH_SUBADDRESSES, **of_envelope):
    envelope = Envelope(
        sender="ann@example.org",
        recipients=recipients,
        helo="client",
        peer="192.0.2.1",
        protocol="ESMTP",
        **of_envelope,
    )
    return store.write(
        lambda tx: accept.accept_message(
            tx,
            deployment,
            message_id="m1",
            envelope=envelope,
            recipients=[address(text) for text in recipients],
            content=accept.examine(RAW, hostname=deployment.hostname, sender=envelope.sender),
            raw=RAW,
            now=NOW,
        )
    )


def deliveries(store):
    found = store.long_read(trace.message_details, TENANT.account, "m1")
    return {one.address.text: one for one in found.deliveries}, found


def test_an_address_with_a_subaddress_is_unknown_unless_its_domain_has_subaddresses(system):
    assert not is_recipient(system, "support+order@example.com", DEPLOYMENT)
    assert not explained(system, "support+order@example.com", DEPLOYMENT).is_accepted
    with pytest.raises(errors.RecipientsChanged):
        send(system, "support+order@example.com", deployment=DEPLOYMENT)


def test_mail_to_a_subaddress_goes_to_the_email_address_and_its_primary_unchanged(system):
    sent_to = "Support+Order@Example.com"
    assert is_recipient(system, sent_to)
    send(system, sent_to)
    found, details = deliveries(system)
    assert {text: (one.sent_to, one.via) for text, one in found.items()} == {
        "support@example.com": (sent_to, None),
        "queue@example.com": (sent_to, "support@example.com"),
    }
    assert details.message.envelope.recipients == (sent_to,)
    reasons = [event.detail.because for event in details.events if event.kind != "accepted"]
    assert len(reasons) == 2
    assert all(reason.startswith(BY_RULE) for reason in reasons)
    because = explained(system, sent_to).because
    assert because[:2] == reasons


@pytest.mark.parametrize("sent_to", ["unknown+order@example.com", "+support@example.com", "support-order@example.com"])
def test_a_subaddress_of_an_unknown_address_is_an_unknown_recipient(system, sent_to):
    assert not is_recipient(system, sent_to)
    assert not explained(system, sent_to).is_accepted


def test_an_existing_email_address_takes_precedence_over_the_subaddress_rule(system):
    create(system, "support+order")
    send(system, "support+order@example.com")
    found, details = deliveries(system)
    assert list(found) == ["support+order@example.com"]
    _, delivered = details.events
    assert "subaddress" not in delivered.detail.because
    assert explained(system, "support+order@example.com").because == [delivered.detail.because]
    delete(system, "support+order")
    assert is_recipient(system, "support+order@example.com")


def test_several_subaddresses_of_one_email_address_make_one_delivery(system):
    send(system, "support+a@example.com", "support+b@example.com", "support@example.com")
    found, details = deliveries(system)
    assert found["support@example.com"].sent_to == "support+a@example.com"
    assert [event.kind for event in details.events].count(SparedEvent.kind) == 2


def test_dsn_parameters_are_found_for_the_recipient_as_the_sender_wrote_it(system):
    wish = RecipientDsn(orcpt="rfc822;Order@shop.example")
    send(system, "support+a@example.com", dsn=Dsn(recipients=(wish,)))
    found, details = deliveries(system)
    assert details.message.envelope.wishes_for(found["support@example.com"].sent_to) == wish


def test_an_address_of_another_account_is_explained_like_an_unknown_address(system):
    found = explained(system, "support+order@example.com", account="999999999999")
    assert found.because == ["support+order@example.com is not an email address of account 999999999999."]


def test_a_notice_to_a_sender_with_a_subaddress_goes_to_the_email_address(system):
    envelope = Envelope(
        sender="support+order@example.com", recipients=(), helo="client", peer="127.0.0.1", protocol="ESMTP"
    )
    assert system.read(lambda tx: notify.is_outside(tx, DEPLOYMENT, envelope)) is True
    assert system.read(lambda tx: notify.is_outside(tx, WITH_SUBADDRESSES, envelope)) is False


def test_mail_is_found_by_the_address_that_the_sender_used(system):
    send(system, "support+order@example.com")
    find = partial(trace.find, account=TENANT.account, servers_owner="", since=NOW, limit=10)
    found = system.long_read(lambda tx: find(tx, what="support+order@example.com", subaddressed={"example.com"}))
    assert [one.message.id for one in found.messages] == ["m1"]
    with pytest.raises(errors.NotFound):
        system.long_read(lambda tx: find(tx, what="support+order@example.com"))


def test_refused_mail_is_shown_to_the_account_that_owned_the_address_or_else_to_the_servers_owner(system):
    """An account that creates the address later, or has another address in the domain, sees no refusals."""
    other = OTHERS[0]
    system.write(partial(make_instance, instance_id="other", tenant=other))
    system.write(lambda tx: tx.add_email_address(an_email_address("neighbour", "other", other.account), {}))
    refused = [
        a_refusal(recipient=f"{x}@example.com", recipient_key=f"{x}@example.com", account=account)
        for x, account in (("support+x", TENANT.account), ("no+x", ""), ("neighbour", ""))
    ]
    system.write(lambda tx: tx.add_refusals(refused))

    def shown(account, what):
        find = partial(
            trace.find,
            account=account,
            what=what,
            servers_owner="999999999999",
            since=NOW,
            limit=10,
            subaddressed={"example.com"},
        )
        try:
            return system.long_read(find).refusals
        except errors.NotFound:
            return []

    assert shown(TENANT.account, "support+x@example.com") == refused[:1]
    assert shown(other.account, "support+x@example.com") == shown("999999999999", "support+x@example.com") == []
    for one, what in ((refused[1], "no+x@example.com"), (refused[2], "neighbour@example.com")):
        assert shown(other.account, what) == shown(TENANT.account, what) == []
        assert shown("999999999999", what) == [one]
