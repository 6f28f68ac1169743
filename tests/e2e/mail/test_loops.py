"""The server refuses mail that comes back in a loop, and the reply does not name the primary."""

import pytest

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"


def test_a_copy_that_comes_back_to_the_alias_is_refused(system):
    alias, primary = system.linked_pair()
    copy = system.raw(system.deliver(HELLO, alias), primary)
    code, text = system.send(copy, alias)
    assert (code, text[:6]) == (554, b"5.4.6 ")
    assert primary.encode() not in text
    assert len(system.inbox(alias)) == len(system.inbox(primary)) == 1


def test_a_copy_that_comes_back_with_additional_fields_is_refused(system):
    alias, primary = system.linked_pair()
    copy = system.raw(system.deliver(HELLO, alias), primary)
    outside = b"Received: from mail.example by relay.example; Sun, 22 Nov 2026 12:00:00 +0000\r\n"
    assert system.send(outside + copy.replace(b"X-Waypost-Loop:", b"x-waypost-loop :"), alias)[0] == 554


def test_a_copy_may_be_sent_to_other_addresses(system):
    alias, primary = system.linked_pair()
    copy = system.raw(system.deliver(HELLO, alias), primary)
    other_alias, other_primary = system.linked_pair()
    message_id = system.deliver(copy, primary, other_alias)
    assert system.raw(message_id, other_primary).endswith(copy)


def test_the_copy_at_the_alias_may_be_sent_to_the_alias_again(system):
    alias, primary = system.linked_pair()
    copy = system.raw(system.deliver(HELLO, alias), alias)
    system.deliver(copy, alias)
    assert len(system.inbox(primary)) == 2


def test_a_forged_loop_mark_is_ignored(system):
    alias, _ = system.linked_pair()
    system.deliver(b"X-Waypost-Loop: " + b"0" * 64 + b"\r\n" + HELLO, alias)


@pytest.mark.parametrize("line", [b"Received: from a by b\r\n", b"RECEIVED : x\r\n", b"received:\r\n\tfolded\r\n"])
def test_a_hundred_hops_are_accepted_and_one_more_is_a_loop(system, line):
    address = system.new_address()
    system.deliver(line * 100 + HELLO, address)
    code, text = system.send(line * 101 + HELLO, address)
    assert (code, text[:6]) == (554, b"5.4.6 ")
    assert len(system.inbox(address)) == 1


def test_received_lines_in_the_body_are_not_counted(system):
    system.deliver(HELLO + b"Received: quoted\r\n" * 200, system.new_address())


def test_received_lines_in_the_body_of_a_message_without_a_header_are_not_counted(system):
    assert system.send(b"\r\n" + b"Received: quoted\r\n" * 200 + b"\r\n", system.new_address())[0] == 250
