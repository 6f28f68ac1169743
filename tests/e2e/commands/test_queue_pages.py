"""The pages of the queue, the trace and the clock: their authorization, and the errors for invalid requests."""

import base64
import json
import socket

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.servers.failing_deliveries import FailingSystem
from tests.kit.servers.running import logged

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"

READING = ["trace", "explain", "queue", "dead-letters", "clock"]
CHANGING = ["dead-letters/redrive", "replay", "clock/advance"]
EVERYTHING = [*READING, *CHANGING]


@pytest.mark.parametrize("path", READING)
def test_a_read_without_a_valid_key_is_refused(late, path):
    assert late.get(path, key=()).status == 401
    assert late.get(path, key=("AKIAUNKNOWN", "secret")).status == 401


@pytest.mark.parametrize("path", [*CHANGING, "explain"])
def test_a_change_without_a_valid_key_is_refused(late, path):
    assert late.post(path, {}, key=()).status == 401
    assert late.post(path, {}, key=("AKIAUNKNOWN", "secret")).status == 401


@pytest.mark.parametrize(
    ("actions", "may"),
    [
        (["waypost:Inspect"], READING),
        (["waypost:Redrive"], ["dead-letters/redrive", "replay"]),
        (["waypost:AdvanceClock"], ["clock/advance"]),
        (["waypost:*"], EVERYTHING),
        (["waypost:inspect", "waypost:Re*"], [*READING, "dead-letters/redrive", "replay"]),
        (["connect:*"], []),
    ],
)
def test_a_key_may_use_only_the_pages_that_its_policy_allows(late, commands, tmp_path, actions, may):
    key = key_with(commands, tmp_path, {"Effect": "Allow", "Action": actions, "Resource": "*"})
    statuses = {path: late.get(path, key=key).status for path in READING}
    statuses |= {path: late.post(path, {}, key=key).status for path in CHANGING}
    assert [path for path, status in statuses.items() if status != 403] == may
    assert {status for status in statuses.values() if status != 403} <= {200, 400}


def test_a_deny_overrides_an_allow_and_the_error_names_the_action(late, commands, tmp_path):
    allow = {"Effect": "Allow", "Action": "waypost:*", "Resource": "*"}
    key = key_with(commands, tmp_path, allow, {"Effect": "Deny", "Action": "waypost:Redrive", "Resource": "*"})
    answer = late.post("replay", {}, key=key)
    assert answer.status == 403
    assert answer.json()["error"] == f"The policy of access key {key[0]} does not allow waypost:Redrive."
    assert late.get("queue", key=key).status == 200


def key_with(commands, tmp_path, *statements):
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    _, out, _ = commands.run("keys", "create", "--policy", file, "--json")
    made = json.loads(out)
    return made["AccessKeyId"], made["SecretAccessKey"]


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("trace", {}, "Give a message id"),
        ("trace", {"what": ""}, "`what` must be a nonempty string"),
        ("trace", {"what": "a\x00b"}, "`what` must be a nonempty string"),
        ("trace", {"what": "x", "limit": "0"}, "`limit` must be"),
        ("queue", {"limit": "501"}, "`limit` must be"),
        ("queue", {"destination": ""}, "`destination` must be"),
        ("queue", {"after": "\n"}, "`after` must be"),
        ("messages", {"address": "a@example.com", "after": "\x00"}, "`after` must be"),
        ("dead-letters", {"address": "nobody"}, "'nobody' is not an email address"),
        ("dead-letters", {"since": "yesterday"}, "`since` must be a time with a time zone"),
        ("dead-letters", {"since": "2026-11-22"}, "`since` must be a time with a time zone"),
        ("dead-letters", {"since": "0001-01-01T00:00:00+10:00"}, "`since` must be a time with a time zone"),
        ("dead-letters", {"since": "2" * 1000}, "`since` must be a time with a time zone"),
        ("dead-letters", {"limit": "many"}, "`limit` must be"),
        (
            "explain",
            {"address": "support@example.com", "from": "nobody"},
            "`from` must be an email address, but ",
        ),
        ("explain", {"address": "support@example.com", "from": "\x00"}, "`from` must be a nonempty string"),
        ("explain", {"from": "a@client.example"}, "An address is required"),
    ],
)
def test_an_invalid_query_is_refused_with_a_message(late, path, query, message):
    answer = late.get(path, **query)
    assert answer.status == 400
    assert answer.json()["error"].startswith(message)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        *[(path, b"", "The body is not valid JSON.") for path in CHANGING],
        *[(path, b"\xff", "The body is not valid JSON.") for path in CHANGING],
        *[(path, b"[" * 60_000, "The body is not valid JSON.") for path in CHANGING],
        *[(path, [], "The body must be a JSON object.") for path in CHANGING],
        *[(path, {"x": 1}, "The member 'x' is unknown. The known members are ") for path in CHANGING],
        ("dead-letters/redrive", {}, "Give either "),
        ("dead-letters/redrive", {"all": False}, "Give either "),
        ("dead-letters/redrive", {"ids": []}, "Give either "),
        ("dead-letters/redrive", {"address": "a@example.com"}, "Give either "),
        ("dead-letters/redrive", {"ids": ["x"], "all": True}, "Give either "),
        (
            "dead-letters/redrive",
            {"ids": ["x"], "address": "a@example.com"},
            "The members `address` and `since` can be used",
        ),
        ("dead-letters/redrive", {"ids": "x"}, "`ids` must be an array of at most 100 strings"),
        ("dead-letters/redrive", {"ids": [1]}, "`ids` must be an array"),
        ("dead-letters/redrive", {"ids": [""]}, "`ids` must be an array"),
        ("dead-letters/redrive", {"ids": ["\ud800"]}, "`ids` must be an array"),
        ("dead-letters/redrive", {"ids": [str(n) for n in range(101)]}, "`ids` must be an array"),
        ("dead-letters/redrive", {"all": 1}, "`all` must be true or false"),
        ("dead-letters/redrive", {"all": True, "since": 1}, "`since` must be a nonempty string"),
        ("dead-letters/redrive", {"all": True, "address": ["a@example.com"]}, "`address` must be a nonempty string"),
        ("dead-letters/redrive", {"all": True, "address": "\ud800@example.com"}, "`address` must be a nonempty string"),
        ("replay", {"since": "2026-11-22T00:00:00Z"}, "An address is required"),
        ("replay", {"address": "support@example.com"}, "The member `since` is required"),
        ("replay", {"address": "support@example.com", "since": "2h"}, "`since` must be a time"),
        *[
            ("clock/advance", {"by": by}, "`by` must be ")
            for by in (None, "", "1", "1w", "0s", "-1d", "3651d", "1 d", "١d", 1, "9" * 10 + "s")
        ],
    ],
)
def test_an_invalid_body_is_refused_with_a_message(late, path, body, message):
    answer = late.post(path, body)
    assert answer.status == 400
    assert answer.json()["error"].startswith(message)


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_a_body_without_the_content_type_of_json_is_refused(late, path, kind):
    assert late.post(path, {}, kind=kind).status == 415


@pytest.mark.parametrize("path", CHANGING)
def test_a_body_that_is_too_long_is_refused(late, path):
    answer = late.post(path, b" " * (64 * 1024 + 1))
    assert answer.status == 413
    assert "65,536" in answer.json()["error"]


@pytest.mark.parametrize("path", CHANGING)
def test_pages_that_change_data_do_not_accept_get(late, path):
    assert late.get(path).status == 405


@pytest.mark.parametrize("path", ["queue", "dead-letters", "trace", "clock"])
def test_read_only_pages_do_not_accept_post(late, path):
    assert late.post(path, {}).status == 405


def test_no_dead_letter_is_redriven_if_one_of_the_ids_is_unknown(late):
    address = late.make("never.example")
    late.deliver(HELLO, address)
    late.settle()
    (letter,) = late.dead_ids(address)
    answer = late.post("dead-letters/redrive", {"ids": [letter, "x.y"]})
    assert (answer.status, answer.json()["error"]) == (404, "There is no dead letter x.y in account 000000000000.")
    assert late.dead_ids(address) == [letter]


def test_only_an_alias_can_be_replayed(late):
    since = "2026-11-22T00:00:00Z"
    answer = late.post("replay", {"address": "unknown@example.com", "since": since})
    assert (answer.status, "unknown@example.com" in answer.json()["error"]) == (404, True)
    address = late.new_address()
    answer = late.post("replay", {"address": address, "since": since})
    assert answer.status == 409
    assert f"{address} is not an alias" in answer.json()["error"]


def test_mail_can_be_replayed_since_the_earliest_time_that_there_is(late):
    alias, _ = late.linked_pair()
    late.deliver(b"Subject: x\r\n\r\n", alias)
    body = {"address": alias, "since": "0001-01-01T00:00:00Z"}
    assert late.post("replay", body).json() == {"forwarded": 0}  # the primary has the mail


def test_a_virtual_clock_can_be_read_and_advanced(late):
    before = late.json("clock")
    assert before["is_virtual"] is True
    now = late.advance("2h")
    assert late.json("clock")["now"] >= now > before["now"]


def test_a_key_of_another_account_cannot_advance_the_clock(late, commands):
    _, out, _ = commands.run("keys", "create", "--account", "111111111111", "--name", "root", "--json")
    made = json.loads(out)
    answer = late.post("clock/advance", {"by": "3650d"}, key=(made["AccessKeyId"], made["SecretAccessKey"]))
    assert answer.status == 403
    assert "Only an access key of the account that owns this server" in answer.json()["error"]
    assert late.json("clock")["now"] < late.advance("1d")
    _, out, _ = commands.run("keys", "create", "--name", "another", "--json")
    made = json.loads(out)
    answer = late.post("clock/advance", {"by": "1s"}, key=(made["AccessKeyId"], made["SecretAccessKey"]))
    assert answer.status == 200


def test_a_real_clock_cannot_be_advanced(system):
    key = system.server.profile.key
    assert system.json("clock")["is_virtual"] is False
    answer = post_to(system, "clock/advance", {"by": "1d"}, (key.id, key.secret))
    assert answer.status == 409
    assert "--clock virtual" in answer.json()["error"]


def post_to(system, path, body, key):
    return FailingSystem.post(system, path, body, key=key)


def test_the_queue_is_listed_in_pages_and_by_destination(late):
    address = late.make("late.example")
    ids = sorted(f"{late.deliver(HELLO, address)}.{late.ids[address]}" for _ in range(3))
    late.settle()
    found, after = [], None
    while page := late.json("queue", limit=1, **({"after": after} if after else {}))["deliveries"]:
        (line,) = page
        after = line["id"]
        found.append(line)
    lines = [line for line in found if line["address"] == address]
    assert [line["id"] for line in lines] == ids
    assert lines[0]["message"] == ids[0].partition(".")[0]
    assert (lines[0]["destination"], lines[0]["attempts"]) == ("smtp://127.0.0.1:1", 1)
    assert (lines[0]["to"], lines[0]["is_attempted_now"]) == (address, False)
    assert (lines[0]["from"], lines[0]["subject"]) == ("a@client.example", "hello")
    assert lines[0]["because"].startswith("smtp://127.0.0.1:1 at end: 451 4.3.0 ")
    assert lines[0]["due_at"] > lines[0]["queued_at"]
    (summary,) = late.json("queue")["destinations"]
    assert summary["destination"] == "smtp://127.0.0.1:1"
    assert summary["waiting"] == len(found)
    assert late.json("queue", destination="smtp://127.0.0.1:2") == {
        "deliveries": [],
        "destinations": [],
        "is_held": False,
    }


def test_an_account_does_not_see_the_queue_of_another_account(late, commands):
    address, dead = late.make("late.example"), late.make("never.example")
    late.deliver(HELLO, address, dead)
    late.settle()
    _, out, _ = commands.run("keys", "create", "--account", "111111111111", "--json")
    made = json.loads(out)
    key = (made["AccessKeyId"], made["SecretAccessKey"])
    assert late.get("queue", key=key).json() == {"deliveries": [], "destinations": [], "is_held": False}
    assert late.get("dead-letters", key=key).json() == {"dead_letters": []}
    assert late.get("trace", key=key, what=address).status == 404
    assert late.get("explain", key=key, address=address).json()["accepted"] is False
    (letter,) = late.dead_ids(dead)
    assert late.post("dead-letters/redrive", {"ids": [letter]}, key=key).status == 404
    assert late.post("dead-letters/redrive", {"all": True}, key=key).json() == {"redriven": 0}
    assert late.dead_ids(dead) == [letter]


def test_a_copy_that_was_delivered_and_not_kept_is_not_found(late):
    address = late.make("file.example")
    message_id = late.deliver(HELLO, address)
    late.settle()
    answer = late.get(f"messages/{message_id}/raw", address=address)
    assert answer.status == 404
    assert "no copy of it was kept" in answer.json()["error"]


def test_a_header_that_is_too_long_to_explain_is_refused(late):
    address = late.new_address()
    body = b"From: a@client.example\r\n\r\n" + b"x" * 600_000
    assert late.done("explain", body, kind="message/rfc822", address=address)["accepted"] is True
    answer = late.post("explain", b"X: x\r\n" * 50_000, kind="message/rfc822", address=address)
    assert answer.status == 413
    assert "262,144" in answer.json()["error"]


def test_a_client_that_disconnects_during_its_request_causes_no_logged_failure(new_server):
    new_server.start()
    key = new_server.profile.key
    credentials = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
    head = (
        f"POST /_waypost/clock/advance HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    host, _, port = new_server.run.http.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(head.encode())
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1000) == b""
    assert new_server.stop() == 0
    assert logged(new_server, "failed") == []
