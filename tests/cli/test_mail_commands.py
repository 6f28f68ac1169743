"""What `waypost inbox` and `waypost search` print, with a client whose responses are scripted."""

import json

import pytest

from tests.cli.test_watch import change, delivery, forwarded
from waypost.cli.commands import mail

REFUSAL = {
    "at": "2026-11-23T12:18:38.217Z",
    "from": "a@client.example",
    "to": "suport@example.com",
    "peer": "127.0.0.1",
    "helo": "client.example",
    "stage": "rcpt",
    "reply": "550 5.1.1 No such address here",
}


@pytest.fixture
def server(monkeypatch):
    """A client that records its requests, and gives the responses that the test sets."""

    class Client:
        def __init__(self):
            self.requests = []
            self.response = None

        def get(self, path, **query):
            self.requests.append((path, query))
            return self.response

    client = Client()
    monkeypatch.setattr(mail, "Client", lambda _: client)
    return client


def results(*messages, refusals=(), following=None, indexed_until=None):
    return {
        "messages": list(messages),
        "refusals": list(refusals),
        "next": following,
        "indexed_until": indexed_until,
    }


def test_the_words_of_a_query_are_joined(server, capsys):
    server.response = results()
    mail.search(["from:ann", "invoice"])
    assert server.requests[-1] == ("search", {"q": "from:ann invoice", "after": None, "limit": 50})
    assert capsys.readouterr().out == "No mail matches.\n"


def test_search_tells_how_far_the_index_is(server, capsys):
    server.response = results(delivery(), indexed_until="2026-11-23T12:00:00.000Z", following="17")
    mail.search(["x"])
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "There may be more: --after 17",
        "The text index has the mail up to 2026-11-23T12:00:00.000Z. Newer mail may match too: search again later.",
    ]


def test_search_prints_refusals_and_no_control_characters(server, capsys):
    server.response = results(delivery(subject="a\x1b[2J"), refusals=[{**REFUSAL, "reply": "550 \x1b[2J"}])
    mail.search(["is:refused"])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "Refused 2026-11-23T12:18:38.217Z, for <suport@example.com>" in printed


def followed(monkeypatch, *changes):
    monkeypatch.setattr(mail.changes, "follow", lambda data, note: iter(changes))


def test_only_new_messages_are_printed(server, monkeypatch, capsys):
    followed(monkeypatch, change(delivery("m1")), change(delivery("m1"), kind="delivered"), change(kind="deleted"))
    mail.inbox(follow=True)
    assert capsys.readouterr().out.splitlines() == [
        "m1  2026-11-23T12:06:37.001Z  10 bytes  for support@example.com, direct",
        "    from <ann@shop.example>: Hello",
    ]


def test_only_mail_for_the_address_is_printed(server, monkeypatch, capsys):
    followed(monkeypatch, change(delivery("m1"), forwarded()), change(delivery("m2")))
    mail.inbox("Desk@EXAMPLE.com", follow=True)
    assert [line[:2] for line in capsys.readouterr().out.splitlines()] == ["m1", "  "]
    assert server.requests[-1] == ("messages", {"address": "Desk@EXAMPLE.com", "limit": 1})


def test_following_ends_after_the_limit(server, monkeypatch, capsys):
    def changes():
        yield change(delivery("m1"), forwarded(message="m1"), message="m1")
        yield change(delivery("m2"), forwarded(message="m2"), message="m2")
        pytest.fail("the command did not end")

    monkeypatch.setattr(mail.changes, "follow", lambda data, note: changes())
    mail.inbox(follow=True, limit=3, as_json=True)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["id"] for one in printed] == ["m1", "m1", "m2"]


def test_ctrl_c_ends_the_command_quietly(server, monkeypatch, capsys):
    def changes():
        yield change(delivery("m1"))
        raise KeyboardInterrupt

    monkeypatch.setattr(mail.changes, "follow", lambda data, note: changes())
    mail.inbox(follow=True)
    assert capsys.readouterr().err == ""
