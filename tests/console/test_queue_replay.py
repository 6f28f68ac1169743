"""The pages that forward the mail of an alias again."""

import pytest

from tests.kit.routed import MESSAGE, hidden_fields

PATH = "/queue/forward-again"


def test_mail_that_an_alias_received_before_its_link_is_forwarded_after_one_question(console):
    system = console.system
    alias, primary = system.new_address("help"), system.new_address("support")
    message = system.deliver(MESSAGE, alias)
    system.connect.associate_email_address_alias(**system._link(alias, primary))
    assert "The mail of the alias" in console.browser.get(PATH).text
    asked = console.browser.get(PATH, address=alias, since="1h")
    assert "Forward up to 1 message again?" in asked.text
    assert system.ids_at(primary) == []
    assert console.browser.post(PATH, hidden_fields(asked)).status == 303
    assert "1 message was forwarded again." in console.browser.get(PATH).text
    assert system.ids_at(primary) == [message]


def test_only_an_alias_of_the_account_can_be_named(console):
    address = console.system.new_address()
    assert console.browser.get(PATH, address=address, since="1h").status == 409
    assert console.browser.get(PATH, address="nobody@example.com", since="1h").status == 404
    assert console.browser.get(PATH, address=address).status == 400
    key, _ = console.new_key(account="111111111111", name="theirs")
    alias, _ = console.system.linked_pair()
    theirs = console.signed_in(key.id, key.secret)
    assert theirs.get(PATH, address=alias, since="1h").status == 404
    assert theirs.post(PATH, {"address": alias, "since": "1h"}).status == 404


@pytest.mark.parametrize("allowed", ["waypost:Inspect", "waypost:Redrive"])
def test_a_key_needs_both_actions_to_ask(console, allowed):
    key, _ = console.new_key(allowed)
    assert console.signed_in(key.id, key.secret).get(PATH).status == 403


def test_mail_is_not_forwarded_without_the_token_of_a_form(console):
    alias, _ = console.system.linked_pair()
    console.browser.get(PATH)
    assert console.browser.post(PATH, {"address": alias, "since": "1h"}, csrf="0" * 64).status == 403
