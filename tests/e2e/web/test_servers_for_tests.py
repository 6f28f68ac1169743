"""A server for tests is reset by request, and reports changes quickly. Other servers refuse the reset."""

import json
import re
import smtplib
import threading
from pathlib import Path

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.failing_deliveries import Commands
from waypost import testing
from waypost.client.event_stream import EventReader
from waypost.client.http import Connection, ServerRefused
from waypost.testing import Server, ServerDied, Waypost

OTHER_ACCOUNT = "111111111111"


def connection(server):
    key = server.profile.key
    return Connection(server.run.http, key_id=key.id, secret=key.secret)


def test_a_server_that_is_not_for_tests_refuses_a_reset():
    with testing.server() as server, pytest.raises(ServerRefused, match="This server is not for tests"):
        connection(server).post("reset", {})


def test_a_data_directory_with_other_data_is_refused(tmp_path):
    ordinary = Server(tmp_path / "data")
    ordinary.start()
    ordinary.stop()
    with pytest.raises(ServerDied, match="--testing yes needs a new data directory"):
        Server(tmp_path / "data", "--testing", "yes").start()


def test_a_server_for_tests_can_be_started_again_with_its_data(tmp_path):
    for _ in range(2):
        server = Server(tmp_path / "data", "--testing", "yes")
        server.start()
        assert connection(server).post("reset", {})["instance"]
        server.stop()
    assert "POST /_waypost/reset deletes all mail" in server.log.read_text(encoding="utf-8")


@pytest.fixture
def a_key(waypost, capsys, monkeypatch, tmp_path):
    """A function that makes an access key, and returns a client that uses it."""

    def made(account, policy=""):
        file = tmp_path / "policy.json"
        file.write_text(policy)
        options = ("--policy", file) if policy else ()
        commands = Commands(waypost.server.data, capsys, monkeypatch)
        _, out, _ = commands.run("keys", "create", "--account", account, "--json", *options)
        key = json.loads(out)
        return Connection(waypost.server.run.http, key_id=key["AccessKeyId"], secret=key["SecretAccessKey"])

    return made


def test_only_the_owner_may_reset_the_server_or_use_its_routes(a_key):
    key = a_key(OTHER_ACCOUNT)
    for request in (
        lambda: key.post("reset", {}),
        lambda: key.get("routes"),
        lambda: key.post("routes", {"match": "*", "to": "inbox"}),
        lambda: key.delete("routes/1"),
    ):
        with pytest.raises(ServerRefused, match="Only an access key of the account that owns this server"):
            request()


def test_the_policy_must_allow_a_reset(waypost, a_key):
    policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "waypost:In*", "Resource": "*"}]}'
    key = a_key(waypost.server.profile.key.account, policy)
    assert key.get("messages") == {"messages": []}
    with pytest.raises(ServerRefused, match="does not allow waypost:Reset"):
        key.post("reset", {})


def test_keys_and_instances_that_were_made_later_do_not_survive_a_reset(waypost, a_key):
    key = a_key(OTHER_ACCOUNT)
    assert key.get("messages") == {"messages": []}
    connect = waypost.client()
    connect.delete_instance(InstanceId=waypost.instance_id)
    other = connect.create_instance(
        IdentityManagementType="SAML", InboundCallsEnabled=True, OutboundCallsEnabled=True, InstanceAlias="other"
    )["Id"]
    waypost.reset()
    with pytest.raises(ServerRefused, match="does not know the access key"):
        key.get("messages")
    assert [one["Id"] for one in connect.list_instances()["InstanceSummaryList"]] == [waypost.instance_id]
    assert waypost.instance_id == other  # it was the oldest one


def test_what_waits_for_a_destination_is_forgotten_by_a_reset(waypost):
    for _ in range(2):
        late = waypost.address("late")
        waypost.route(late, "smtp://127.0.0.1:1")  # nothing listens there
        waypost.send(to=late)
        wait_until(lambda: waypost.connection.get("queue")["deliveries"][0]["attempts"])
        waypost.reset()
        assert waypost.connection.get("queue") == {"deliveries": [], "destinations": [], "is_held": False}
    waypost.clock.advance("6d")
    assert waypost.mail() == waypost.dead_letters() == []


def test_ids_follow_the_real_time_again_after_a_reset(waypost):
    waypost.clock.advance("6d")
    later = waypost.send(to=waypost.address())
    waypost.reset()
    assert waypost.send(to=waypost.address()).id < later.id


def test_an_attempt_that_is_in_progress_during_a_reset_ends_without_an_error(waypost):
    slow = waypost.address("slow")
    waypost.route(slow, "smtp://127.0.0.1:1", fault="slow")
    waypost.send(to=slow)
    wait_until(lambda: waypost.connection.get("queue")["deliveries"][0]["is_attempted_now"])
    waypost.reset()
    waypost.clock.advance("1d")  # waits until the attempt has ended
    assert waypost.mail() == []
    assert "Traceback" not in waypost.log.read_text(encoding="utf-8")


@pytest.mark.waypost(limits="aws", smtp_messages_each=2)
def test_rates_begin_anew_after_a_reset(waypost):
    for _ in range(3):
        address = waypost.address()
        for _ in range(2):
            waypost.send(to=address)
        with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPServerDisconnected)):
            waypost.send(to=address)
        waypost.reset()


def test_a_stream_of_changes_continues_after_a_reset(waypost):
    ready, found = threading.Event(), []

    def follow():
        reader = EventReader()
        with waypost.connection.stream("events", "", PATIENCE) as parts:
            for part in parts:
                for event in reader.receive(part):
                    found.append(event)
                    ready.set()
                    if len(found) == 3:
                        return

    thread = threading.Thread(target=follow)
    thread.start()
    assert ready.wait(PATIENCE)
    waypost.send(to=waypost.address("first"), subject="first")
    waypost.wait_for(subject="first")
    wait_until(lambda: len(found) == 2)
    waypost.reset()
    waypost.send(to=waypost.address("second"), subject="second")
    thread.join(PATIENCE)
    assert [event.name for event in found] == ["ready", "change", "change"]
    assert "second" in found[2].data


def test_a_refusal_can_be_read_when_the_client_has_the_reply(waypost):
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        waypost.send(to="nobody@example.com")
    assert [refusal["to"] for refusal in waypost.refusals()] == ["nobody@example.com"]


def test_routes_are_listed_added_in_a_place_and_removed(waypost):
    add = waypost.connection.post
    first = add("routes", {"match": "a@example.com", "to": "smtp://mail.example.net:25", "tls": "require"})
    assert (first["number"], first["tls"], first["keep"]) == (1, "require", False)
    second = add("routes", {"match": "b@example.com", "to": "maildir:/tmp/b", "line_ends": "as-received", "before": 1})
    assert (second["number"], second["line_ends"]) == (1, "as received")
    found = waypost.connection.get("routes")["routes"]
    assert [route["match"] for route in found] == [
        "b@example.com",
        "a@example.com",
    ]
    with pytest.raises(ServerRefused, match="have changed in the meantime"):
        waypost.connection.delete("routes/1", name=first["log_name"])
    assert waypost.connection.delete("routes/1", name=second["log_name"])["match"] == "b@example.com"
    assert [route["number"] for route in waypost.connection.get("routes")["routes"]] == [1]


def test_a_route_does_not_show_its_secret(waypost):
    secret = "a secret of many characters"
    hook = {"match": "*", "to": "https://example.com/hook", "secret": secret}
    added = waypost.connection.post("routes", hook)
    assert added["has_secret"]
    assert secret not in str(added) + str(waypost.connection.get("routes"))


BAD_ROUTES = {
    "nothing": ({}, "The member `match` is required"),
    "no destination": ({"match": "*"}, "The member `to` is required"),
    "a bad destination": ({"match": "*", "to": "gopher://x"}, "gopher"),
    "an unknown member": ({"match": "*", "to": "inbox", "colour": "red"}, "'colour' is unknown"),
    "a bad choice": ({"match": "*", "to": "smtp://x.example:25", "tls": "maybe"}, "`tls` must be none or"),
    "a bad flag": ({"match": "*", "to": "inbox", "keep": "yes"}, "`keep` must be true or false"),
    "a bad number": ({"match": "*", "to": "smtp://x.example:25", "connections": True}, "`connections` must be"),
    "a missing place": ({"match": "*", "to": "smtp://x.example:25", "before": 7}, "There is no route 7"),
}


@pytest.mark.parametrize(("body", "message"), BAD_ROUTES.values(), ids=BAD_ROUTES)
def test_a_bad_route_is_refused_with_the_mistake(waypost, body, message):
    with pytest.raises(ServerRefused, match=re.escape(message)):
        waypost.connection.post("routes", body)


@pytest.mark.long
@pytest.mark.slow
def test_many_resets_leak_no_descriptors_memory_or_files():
    with Waypost() as waypost:
        process = Path(f"/proc/{waypost.server.run.pid}")

        def used():
            pages = int((process / "statm").read_text().split()[1])
            files = sum(file.stat().st_size for file in waypost.server.data.iterdir())
            return len(list((process / "fd").iterdir())), pages * 4096, files, len(list(waypost.server.data.iterdir()))

        def rounds(count):
            for _ in range(count):
                address = waypost.address("support@example.com")
                waypost.send(to=address, text="x" * 4000)
                waypost.reset()

        rounds(200)
        before = used()
        rounds(1_000)
        after = used()
    assert after[0] <= before[0]
    assert after[1] < before[1] + 4 * 2**20
    assert after[2] < before[2] + 2**20
    assert after[3] == before[3]
