"""Subaddressing on a real server, set on the command line or in the settings file."""

import json

import pytest

from tests.kit.servers.running import System, waypost
from waypost.testing import server as waypost_server

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"


@pytest.fixture(scope="module", params=["command line", "settings file"])
def subaddressed(request, tmp_path_factory):
    """A server on which example.com has subaddresses."""
    file = tmp_path_factory.mktemp("settings") / "waypost.toml"
    file.write_text('subaddressing = "example.com"\n')
    options = ("--subaddressing", "example.com") if request.param == "command line" else ("--config", str(file))
    with waypost_server(*options) as server:
        system = System(server)
        yield system
        system.connect.close()


def tagged(address, tag):
    local, _, domain = address.partition("@")
    return f"{local}+{tag}@{domain}"


def test_no_domain_has_subaddresses_by_default(system):
    sent_to = tagged(system.new_address(), "order")
    assert system.rcpt(sent_to)[0] == 550
    assert system.rcpt(sent_to)[1].startswith(b"5.1.1 ")
    assert system.json("explain", address=sent_to)["accepted"] is False


def test_mail_for_a_subaddress_arrives_and_commands_show_the_rule(subaddressed):
    alias, primary = subaddressed.linked_pair()
    sent_to = tagged(alias, "Order")
    message_id = subaddressed.deliver(HELLO, sent_to)
    (kept,), (forwarded,) = subaddressed.inbox(alias), subaddressed.inbox(primary)
    assert (kept["id"], kept["to"]) == (forwarded["id"], forwarded["to"]) == (message_id, sent_to)
    assert f"\r\n\tfor <{sent_to}>".encode() in subaddressed.raw(message_id, alias).replace(b"\r\n  ", b"\r\n\t")
    rule = f"{sent_to} is a subaddress of {alias} (--subaddressing is on for example.com)."
    for command in (("explain", sent_to), ("trace", sent_to), ("trace", message_id)):
        done = waypost(*command, "--data", subaddressed.server.data)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count(rule) == 2


def test_an_existing_email_address_has_priority_over_a_subaddress(subaddressed):
    address = subaddressed.new_address()
    sent_to = tagged(address, "order")
    subaddressed.connect.create_email_address(InstanceId=subaddressed.instance_id, EmailAddress=sent_to)
    message_id = subaddressed.deliver(HELLO, sent_to)
    assert subaddressed.ids_at(sent_to) == [message_id]
    assert subaddressed.inbox(address) == []


def test_another_domain_has_no_subaddresses(subaddressed):
    address = "support@example.org"
    subaddressed.connect.create_email_address(InstanceId=subaddressed.instance_id, EmailAddress=address)
    assert subaddressed.rcpt(address)[0] == 250
    assert subaddressed.rcpt(tagged(address, "order"))[0] == 550
    done = waypost("explain", tagged(address, "order"), "--json", "--data", subaddressed.server.data)
    assert json.loads(done.stdout)["accepted"] is False
