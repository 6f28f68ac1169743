"""What a real server answers is what the schema of the inspection API says, no more and no less."""

from types import UnionType
from typing import get_args, get_origin, get_type_hints, is_typeddict

import pytest

from waypost.app import inspection_schema as schema
from waypost.domain.mail import trace_events

HELLO = b"Message-ID: <%s>\r\nSubject: hello\r\n\r\nHello.\r\n"


def differences(value, of, where="the answer"):
    """What an answer, or a part of it, has otherwise than its type says."""
    if of == schema.TraceLine:
        members = {name: told for name, told in value.items() if name not in {"at", "event"}}
        detail = trace_events.from_members(value["event"], members)
        known = not isinstance(detail, trace_events.OtherEvent) and isinstance(value["at"], str)
        return [] if known else [f"{where}: {value} is no known event"]
    if is_typeddict(of):
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is no object"]
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
    return [] if type(value) is of else [f"{where}: {value!r} is no {of.__name__}"]


class Asking:
    """Asks a server, and compares each answer with the schema."""

    def __init__(self, system):
        self.system = system
        self.asked = set()

    def get(self, path, **query):
        return self._compared("GET", path, self.system.get(path, **query))

    def post(self, path, body, **given):
        return self._compared("POST", path, self.system.post(path, body, **given))

    def _compared(self, method, path, answer):
        assert answer.status == 200, answer.body
        request = f"{method} /{path.partition('/')[0] + '/ID' if path.startswith('messages/') else path}"
        self.asked.add(request)
        assert differences(answer.json(), schema.ANSWERS[request]) == []
        return answer.json()


@pytest.fixture
def asking(late):
    return Asking(late)


def test_each_request_is_answered_as_the_schema_says(asking, late):
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
        asking.get(path)
    for region in ("us-east-1", "eu-west-1"):
        asking.get("instance", region=region)
    listed = [one for address in (alias, primary) for one in asking.get("messages", address=address)["messages"]]
    assert listed
    message = asking.get(f"messages/{listed[0]['id']}")
    assert {event["event"] for event in message["trace"]} >= {"accepted", "delivered", "queued", "dead"}
    assert asking.get("trace", what=waiting)["messages"][0]["trace"][-1]["event"] == "deferred"
    assert asking.get("trace", what=loop)["refusals"][0]["path"].startswith("b.example")

    assert asking.get("explain", address=alias, **{"from": "ann@client.example"})["deliveries"][1]["route"]
    assert asking.get("explain", address="nobody@example.com")["accepted"] is False
    kind = "message/rfc822"
    assert asking.post("explain", HELLO % b"x@y.example", address=alias, kind=kind)["loop"]["is_loop"] is False
    assert asking.post("explain", received + HELLO % b"x@y.example", address=alias, kind=kind)["loop"]["because"]

    queue = asking.get("queue")
    assert queue["deliveries"][0]["because"]
    assert queue["destinations"]
    letters = asking.get("dead-letters", address=primary)["dead_letters"]
    assert letters[0]["given_up_at"]
    assert asking.post("dead-letters/redrive", {"ids": [letters[0]["id"]]}) == {"redriven": 1}
    assert asking.post("replay", {"address": alias, "since": "2000-01-01T00:00:00Z"})["forwarded"] in {
        0,
        1,
    }  # it may be dead again
    asking.post("clock/advance", {"by": "1s"})
    assert asking.asked == set(schema.ANSWERS)


def test_a_refusal_is_told_as_the_schema_says(late):
    for path, status in (("messages/x", 404), ("messages", 400), ("elsewhere", 404)):
        query = {"address": "no address"} if path == "messages" else {}
        answer = late.get(path, **query)
        assert answer.status == status
        assert differences(answer.json(), schema.Error) == []


def test_what_is_not_as_the_schema_says_is_found():
    assert differences({"now": "2026", "is_virtual": 1, "zone": ""}, schema.Clock) == [
        "the answer: zone is not in the schema",
        "the answer.is_virtual: 1 is no bool",
    ]
    assert differences({"redriven": None}, schema.Redriven) == ["the answer.redriven: None is no int"]
    assert differences({}, schema.Redriven) == ["the answer: redriven is missing"]
    assert differences({"messages": [5]}, schema.Messages) == ["the answer.messages[0]: 5 is no object"]
    assert differences([{"at": "2026", "event": "dead"}], list[schema.TraceLine])
