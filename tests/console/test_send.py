"""The form that sends a test message: by SMTP, only to email addresses of the account."""

import email
import email.policy

import pytest

from tests.kit.browser import Browser
from tests.kit.servers.running import System
from waypost import testing

FIELDS = {"from": "ann@shop.example", "subject": "Where is my order?", "text": "Hello,\r\n\r\nmy order …\r\n"}


def sent(console, fields):
    console.browser.get("/send")
    return console.browser.post("/send", fields)


def test_a_message_is_sent_by_smtp_and_leads_to_its_page(console):
    address = console.system.new_address()
    page = sent(console, FIELDS | {"to": address, "file_name": "notes.txt", "file": "1 2 3\r\n"})
    assert page.status == 200, page.text
    assert "✓ accepted 250 2.0.0" in page.text
    (message_id,) = console.system.ids_at(address)
    assert f'href="/console/mail/{message_id}"' in page.html
    details = console.system.json(f"messages/{message_id}")
    assert (details["from"], details["protocol"]) == ("ann@shop.example", "ESMTP")
    octets = console.system.raw(message_id, address)
    read = email.message_from_bytes(octets, policy=email.policy.default)
    assert (read["Subject"], read["To"]) == ("Where is my order?", address)
    text, attached = read.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == "Hello,\n\nmy order …\n"
    assert (attached.get_filename(), attached.get_content()) == ("notes.txt", "1 2 3\r\n")


def test_a_message_to_an_alias_arrives_at_both_addresses(console):
    alias, primary = console.system.linked_pair()
    assert sent(console, FIELDS | {"to": alias}).status == 200
    assert console.system.ids_at(alias) == console.system.ids_at(primary)


def test_the_null_sender_may_send(console):
    address = console.system.new_address()
    assert sent(console, FIELDS | {"from": "", "to": address}).status == 200
    assert console.system.inbox(address)[0]["from"] == ""


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"to": "nobody@example.com"}, "nobody@example.com is not an email address of account 000000000000."),
        ({"to": "nobody"}, "'nobody' is not an email address"),
        ({"from": "ann", "to": "nobody@example.com"}, "'ann' is not an email address"),
    ],
)
def test_a_message_that_cannot_be_sent_is_refused_and_the_form_stays(console, fields, sentence):
    page = sent(console, FIELDS | fields)
    assert page.status == 400
    assert sentence in page.text
    assert 'value="Where is my order?"' in page.html


@pytest.mark.parametrize("name", ["subject", "file_name"])
def test_a_field_cannot_add_header_fields(console, name):
    address = console.system.new_address()
    page = sent(console, FIELDS | {"to": address, name: "a\r\nBcc: victim@example.com"})
    for message_id in console.system.ids_at(address):
        octets = console.system.raw(message_id, address)
        assert email.message_from_bytes(octets)["Bcc"] is None
        assert b"\nBcc:" not in octets
    assert page.status in (200, 400)


def test_the_reply_of_a_refusal_is_shown():
    with testing.server("--hostname", "mail.example", "--smtp-messages-each", "1") as server:
        system = System(server)
        address = system.new_address()
        browser = Browser(server.url)
        browser.sign_in(server.profile.key.id, server.profile.key.secret)
        browser.get("/send")
        first, second = (browser.post("/send", FIELDS | {"to": address}) for _ in range(2))
        assert (first.status, second.status) == (200, 409)
        assert "✕ refused 45" in second.text
        assert len(system.ids_at(address)) == 1
        system.connect.close()


def test_a_message_does_not_go_to_an_address_of_another_account(console):
    address = console.system.new_address()
    theirs, _ = console.new_key(account="111111111111")
    browser = console.signed_in(theirs.id, theirs.secret)
    browser.get("/send")
    page = browser.post("/send", FIELDS | {"to": address})
    assert page.status == 400
    assert f"{address} is not an email address of account 111111111111." in page.text
    assert console.system.ids_at(address) == []


def test_a_key_without_the_action_does_not_send(console):
    key, _ = console.new_key("waypost:Inspect")
    browser = console.signed_in(key.id, key.secret)
    assert browser.get("/send").status == 403
    assert browser.post("/send", FIELDS | {"to": "a@example.com"}).status == 403


def test_a_message_without_the_token_of_a_form_is_not_sent(console):
    address = console.system.new_address()
    console.browser.get("/send")
    assert console.browser.post("/send", FIELDS | {"to": address}, csrf="0" * 64).status == 403
    assert console.system.ids_at(address) == []
