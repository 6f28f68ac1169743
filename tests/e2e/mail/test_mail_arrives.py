"""Mail for an alias is kept at the alias, and also arrives at the primary, byte for byte."""

import base64
import hashlib
import random
import re
from datetime import UTC, datetime, timedelta

import dkim
import pytest
import rsa

LONG = b"x" * 100_000
MEGABYTES = b"\r\n".join(random.Random(5).randbytes(1_000).translate(None, b"\r\n") for _ in range(5 * 1024))
BODIES = {
    "empty": b"\r\n",
    "plain": b"Subject: hello\r\n\r\nHello.\r\n",
    "no header": b"\r\nHello.\r\n",
    "header only": b"Subject: hello\r\n",
    "eight bits": b"Subject: Gr\xfc\xdfe\r\n\r\n\xff\xfe\x00\x80\x1b[1m\r\n",
    "long lines": b"Subject: " + LONG + b"\r\n\r\n" + LONG + b"\r\n" + LONG + b"\r\n",
    "dots": b".first\r\n\r\n.\r\n..\r\n.x\r\n...\r\n.\r\n",
    "blank lines": b"Subject: hello\r\n\r\n\r\n\r\n \r\n\t\r\n\r\n",
    "no final line end": b"Subject: hello\r\n\r\nHello.",
    "five megabytes": b"Subject: large\r\n\r\n" + MEGABYTES + b"\r\n",
}
HELLO = BODIES["plain"]


@pytest.mark.parametrize("name", BODIES)
def test_a_message_arrives_unchanged_at_the_alias_and_the_primary(system, name):
    sent = BODIES[name] if BODIES[name].endswith(b"\r\n") else BODIES[name] + b"\r\n"
    alias, primary = system.linked_pair()
    message_id = system.deliver(BODIES[name], alias)
    for address in (alias, primary):
        arrived = system.raw(message_id, address)
        header, author = arrived[: -len(sent)], arrived[-len(sent) :]
        assert hashlib.sha256(author).digest() == hashlib.sha256(sent).digest()
        assert re.fullmatch(rb"(?:[A-Z][A-Za-z-]+: [^\r\n]+\r\n(?:\t[^\r\n]+\r\n)*)+", header)
        (listed,) = system.inbox(address)
        assert listed["size"] == len(sent)


def test_each_copy_has_the_trace_fields_of_its_delivery(system):
    alias, primary = system.linked_pair()
    message_id = system.deliver(HELLO, alias)
    at_alias, at_primary = (system.raw(message_id, address).decode() for address in (alias, primary))
    for copy, address in ((at_alias, alias), (at_primary, primary)):
        assert copy.startswith(f"Return-Path: <a@client.example>\r\nDelivered-To: {address}\r\n")
        assert (
            f"Received: from client.example ([127.0.0.1])\r\n\tby mail.example with ESMTP id {message_id}\r\n" in copy
        )
        assert f"\tfor <{alias}>; " in copy
    assert "X-Waypost-Loop: " in at_primary
    assert "X-Waypost-Loop: " not in at_alias


def test_both_inboxes_list_the_message_with_the_reason_for_its_delivery(system):
    alias, primary = system.linked_pair()
    message_id = system.deliver(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello.\r\n", alias)
    (at_alias,), (at_primary,) = system.inbox(alias), system.inbox(primary)
    received_at = datetime.fromisoformat(at_alias.pop("received_at"))
    assert abs(datetime.now(UTC) - received_at) < timedelta(minutes=1)
    assert at_primary.pop("received_at")
    same = {
        "id": message_id,
        "from": "a@client.example",
        "to": alias,
        "subject": "Grüße",
        "size": 48,
        "status": "delivered",
    }
    at_alias_id, at_primary_id = (f"{message_id}.{system.ids[address]}" for address in (alias, primary))
    assert at_alias == {**same, "address": alias, "delivery": at_alias_id, "reason": "direct", "via": None}
    assert at_primary == {**same, "address": primary, "delivery": at_primary_id, "reason": "forwarded", "via": alias}


def test_a_bounce_is_delivered_with_the_null_sender(system):
    address = system.new_address()
    message_id = system.deliver(HELLO, address, sender="")
    assert system.inbox(address)[0]["from"] == ""
    assert system.raw(message_id, address).startswith(b"Return-Path: <>\r\n")


def test_an_inbox_is_listed_newest_first_in_pages(system):
    alias, primary = system.linked_pair()
    newest_first = [system.deliver(HELLO, alias) for _ in range(5)][::-1]
    for address in (alias, primary):
        assert system.ids_at(address) == newest_first
        assert system.ids_at(address, limit=2) == newest_first[:2]
        assert system.ids_at(address, limit=2, after=newest_first[1]) == newest_first[2:4]
        assert system.ids_at(address, limit=2, after=newest_first[3]) == newest_first[4:]
        assert system.ids_at(address, limit=2, after=newest_first[4]) == []


def test_a_recipient_that_is_also_the_primary_of_another_gets_one_copy(system):
    alias, primary = system.linked_pair()
    message_id = system.deliver(HELLO, alias, primary, alias)
    assert system.ids_at(alias) == system.ids_at(primary) == [message_id]
    assert system.inbox(primary)[0]["reason"] == "direct"
    spared = [event for event in system.json(f"messages/{message_id}")["trace"] if event["event"] == "spared"]
    assert {event["address"] for event in spared} == {alias, primary}
    assert all("but gets one copy" in event["because"] for event in spared)


def test_a_message_has_a_trace(system):
    alias, primary = system.linked_pair()
    details = system.json(f"messages/{system.deliver(HELLO, alias)}")
    assert (details["peer"], details["helo"], details["size"]) == ("127.0.0.1", "client.example", len(HELLO))
    assert [(delivery["address"], delivery["reason"], delivery["via"]) for delivery in details["deliveries"]] == [
        (alias, "direct", None),
        (primary, "forwarded", alias),
    ]
    accepted, kept, forwarded = details["trace"]
    assert (accepted["event"], accepted["from"]) == ("accepted", "a@client.example")
    assert (kept["event"], kept["address"], kept["reason"]) == ("delivered", alias, "direct")
    assert (forwarded["event"], forwarded["address"], forwarded["reason"]) == ("delivered", primary, "forwarded")
    assert f"{alias} is an alias of {primary}" in forwarded["because"]


def test_explain_predicts_the_deliveries_of_a_message(system):
    alias, _ = system.linked_pair()
    explained = system.json("explain", address=alias)
    message_id = system.deliver(HELLO, alias)
    done = system.json(f"messages/{message_id}")["deliveries"]
    keys = ("address", "email_address_id", "reason", "via")
    assert explained["accepted"]
    assert [[plan[key] for key in keys] for plan in explained["deliveries"]] == [
        [made[key] for key in keys] for made in done
    ]
    assert system.json("explain", address="unknown@example.com")["accepted"] is False


def test_mail_for_an_unknown_address_is_refused(system):
    assert system.rcpt("unknown@example.com") == (550, b"5.1.1 No such address here")
    assert system.rcpt(system.new_address())[0] == 250


def test_the_authors_signature_stays_valid(system):
    public, private = rsa.newkeys(1024)
    message = b"From: a@client.example\r\nTo: help@example.com\r\nSubject: signed\r\n\r\n.Hello \r\n\r\n\r\n"
    signature = dkim.sign(message, b"key", b"client.example", private.save_pkcs1())
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public_key_info(public))
    alias, primary = system.linked_pair()
    message_id = system.deliver(signature + message, alias)
    for address in (alias, primary):
        assert dkim.verify(system.raw(message_id, address), dnsfunc=lambda *_, **__: record)
    assert not dkim.verify(system.raw(message_id, alias).replace(b".Hello", b"Hello"), dnsfunc=lambda *_, **__: record)


def test_mail_stays_in_both_inboxes_when_the_alias_link_ends(system):
    alias, primary = system.linked_pair()
    before = system.deliver(HELLO, alias)
    system.unlink(alias, primary)
    after = system.deliver(HELLO, alias)
    assert set(system.ids_at(alias)) == {before, after}
    assert system.ids_at(primary) == [before]
    assert system.inbox(primary)[0]["via"] == alias


def test_mail_of_a_deleted_address_stays_readable(system):
    alias, primary = system.linked_pair()
    message_id = system.deliver(HELLO, alias)
    system.delete(alias)
    system.delete(primary)
    for address in (alias, primary):
        assert system.ids_at(address) == [message_id]
        assert system.raw(message_id, address).endswith(HELLO)
    assert system.json("explain", address=alias)["accepted"] is False
    assert system.rcpt(alias)[0] == 550


def public_key_info(key) -> bytes:
    """Return a public key as an RFC 5280 `SubjectPublicKeyInfo`, the format of DKIM keys in the DNS."""
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return der(0x30, algorithm + der(0x03, b"\0" + key.save_pkcs1("DER")))


def der(tag, content) -> bytes:
    """Return the DER encoding of an ASN.1 value of less than 256 octets."""
    return bytes([tag, 0x81, len(content)]) + content
