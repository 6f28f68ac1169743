"""The responses of a real server match the schema of the inspection API exactly."""

import re
from types import UnionType
from typing import get_args, get_origin, get_type_hints, is_typeddict

import pytest

from tests.e2e.web.test_mail_of_an_account import MULTIPART, delete
from tests.kit.patience import wait_until
from waypost.app import inspection_schema as schema
from waypost.domain.mail import trace_events

HELLO = b"Message-ID: <%s>\r\nSubject: hello\r\n\r\nHello.\r\n"


def differences(value, of, where="the response"):
    """Return a sentence for each difference between a response, or a part of a response, and its type."""
    if of == schema.TraceLine:
        members = {name: inner for name, inner in value.items() if name not in {"at", "event"}}
        detail = trace_events.from_members(value["event"], members)
        known = not isinstance(detail, trace_events.OtherEvent) and isinstance(value["at"], str)
        return [] if known else [f"{where}: {value} is not a known event"]
    if is_typeddict(of):
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is not an object"]
        hints = get_type_hints(of)
        found = [f"{where}: {name} is not in the schema" for name in value.keys() - hints.keys()]
        found += [f"{where}: {name} is missing" for name in of.__required_keys__ - value.keys()]
        return found + [
            one
            for name in value.keys() & hints.keys()
            for one in differences(value[name], hints[name], f"{where}.{name}")
        ]
    if get_origin(of) is list:
        return [one for n, each in enumerate(value) for one in differences(each, get_args(of)[0], f"{where}[{n}]")]
    if get_origin(of) is UnionType:
        return [] if value is None else differences(value, get_args(of)[0], where)
    return [] if type(value) is of else [f"{where}: {value!r} is not of type {of.__name__}"]


class CheckedClient:
    """Sends requests to a server, and compares each response with the schema."""

    def __init__(self, system):
        self.system = system
        self.requests = set()

    def get(self, path, **query):
        return self._compared("GET", path, self.system.get(path, **query))

    def post(self, path, body, **given):
        return self._compared("POST", path, self.system.post(path, body, **given))

    def delete(self, path, **query):
        return self._compared("DELETE", path, delete(self.system, path, **query))

    def _compared(self, method, path, answer):
        assert answer.status == 200, answer.body
        named = re.sub("^(messages|faults)/(?!delete)[^/]+", r"\1/ID", path)
        request = f"{method} /{re.sub('^routes/[0-9]+', 'routes/N', named)}"
        self.requests.add(request)
        assert differences(answer.json(), schema.ANSWERS[request]) == []
        return answer.json()


@pytest.fixture
def checked(late):
    return CheckedClient(late)


def test_each_response_matches_the_schema(checked, late):
    alias, primary, loop = late.new_address("help"), late.make("never.example"), late.new_address("loop")
    waiting, filed = late.make("late.example"), late.make("file.example")
    late.link(alias, primary)
    for number, address in enumerate((alias, waiting, filed)):
        late.deliver(HELLO % f"{number}@schema.example".encode(), address)
    received = b"Received: from a.example by b.example\r\n" * 101
    assert late.send(received + HELLO % b"loop@schema.example", loop)[0] == 554
    late.settle()
    late.wait_for_refusals(loop)

    for path in ("health", "ready", "clock"):
        checked.get(path)
    for region in ("us-east-1", "eu-west-1"):
        checked.get("instance", region=region)
    listed = [one for address in (alias, primary) for one in checked.get("messages", address=address)["messages"]]
    assert listed
    message = checked.get(f"messages/{listed[0]['id']}")
    assert {event["event"] for event in message["trace"]} >= {"accepted", "delivered", "queued", "dead"}
    assert checked.get("trace", what=waiting)["messages"][0]["trace"][-1]["event"] == "deferred"
    assert checked.get("trace", what=loop)["refusals"][0]["path"].startswith("b.example")

    assert checked.get("explain", address=alias, **{"from": "ann@client.example"})["deliveries"][1]["route"]
    assert checked.get("explain", address="nobody@example.com")["accepted"] is False
    kind = "message/rfc822"
    assert checked.post("explain", HELLO % b"x@y.example", address=alias, kind=kind)["loop"]["is_loop"] is False
    assert checked.post("explain", received + HELLO % b"x@y.example", address=alias, kind=kind)["loop"]["because"]

    queue = checked.get("queue")
    assert queue["deliveries"][0]["because"]
    assert queue["destinations"]
    letters = checked.get("dead-letters", address=primary)["dead_letters"]
    assert letters[0]["given_up_at"]
    assert checked.post("dead-letters/redrive", {"ids": [letters[0]["id"]]}) == {"redriven": 1}
    assert checked.post("dead-letters/remove", {"all": True, "destination": "smtp://no.example:25"}) == {"removed": 0}
    assert checked.post("replay", {"address": alias, "since": "2000-01-01T00:00:00Z"})["forwarded"] in {
        0,
        1,
    }  # it may be a dead letter again
    assert checked.get("refusals")["refusals"][0]["to"] == loop
    assert {one["reason"] for one in checked.get("messages", reason="forwarded")["messages"]} == {"forwarded"}
    found = wait_until(lambda: checked.get("search", q="hello subject:hello")["messages"])
    assert {one["subject"] for one in found} == {"hello"}
    assert checked.get("search", q="is:refused")["refusals"][0]["to"] == loop
    multipart = late.deliver(MULTIPART, alias)
    assert checked.get(f"messages/{multipart}/parts")["parts"]
    assert checked.get(f"messages/{multipart}/html")["html"]
    wait_until(lambda: checked.get("counts")["ways"])
    assert checked.delete(f"messages/{multipart}", cancel="true")["deleted"] == 2
    assert checked.post("messages/delete", {"ids": [message["id"]], "cancel": True})["deleted"]
    checked.post("clock/advance", {"by": "1s"})
    rule = {"stage": "rcpt", "action": "defer", "recipient": "busy@example.com", "probability": 0.5, "times": 3}
    added = checked.post("faults", rule)["id"]
    assert checked.get("faults")["faults"][0]["id"] == added
    assert checked.delete(f"faults/{added}")["removed"] == 1
    assert checked.delete("faults")["removed"] == 0
    number = checked.post("routes", {"match": "routed@schema.example", "to": "smtp://127.0.0.1:25"})["number"]
    assert checked.get("routes")["routes"][-1]["number"] == number
    checked.delete(f"routes/{number}")
    # Other tests use this server, and `test_doctor` has a server with a DNS server of its own.
    assert checked.requests == set(schema.ANSWERS) - {"POST /reset", "GET /doctor"}


def test_the_response_to_a_reset_matches_the_schema(waypost):
    assert differences(waypost.connection.post("reset", {}), schema.ANSWERS["POST /reset"]) == []


def test_each_error_response_matches_the_schema(late):
    for path, status in (("messages/x", 404), ("messages", 400), ("elsewhere", 404)):
        query = {"address": "no address"} if path == "messages" else {}
        answer = late.get(path, **query)
        assert answer.status == status
        assert differences(answer.json(), schema.Error) == []


def test_differences_from_the_schema_are_found():
    assert differences({"now": "2026", "is_virtual": 1, "zone": ""}, schema.Clock) == [
        "the response: zone is not in the schema",
        "the response.is_virtual: 1 is not of type bool",
    ]
    assert differences({"redriven": None}, schema.Redriven) == ["the response.redriven: None is not of type int"]
    assert differences({}, schema.Redriven) == ["the response: redriven is missing"]
    assert differences({"messages": [5]}, schema.Messages) == ["the response.messages[0]: 5 is not an object"]
    assert differences([{"at": "2026", "event": "dead"}], list[schema.TraceLine])
