"""`waypost trace`, `waypost explain` and `waypost routes test`, which show the past and future path of mail."""

import json

import boto3
import pytest
from botocore.config import Config

from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.failing_deliveries import Commands, late_system
from waypost.cli.commands import probe
from waypost.client import timeline

HELLO = b"Message-ID: <%s>\r\nSubject: hello\r\n\r\nHello.\r\n"
SIGNED = b"From: Ann <ann@client.example>\r\nDKIM-Signature: v=1; d=client.example; s=x; b=y\r\n\r\nHello.\r\n"


@pytest.fixture(scope="module")
def sink():
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def late(tmp_path_factory, sink):
    with late_system(tmp_path_factory.mktemp("late"), sink.to) as system:
        system.sink = sink.to
        yield system


# The trace


def test_trace_prints_each_event_of_a_message(late, commands):
    address = late.make("late.example")
    message_id = late.deliver(HELLO % b"life@client.example", address)
    late.settle()
    lines = commands("trace", message_id).splitlines()
    assert lines[0].startswith(f"Message {message_id}, received 2")
    assert lines[1:5] == [
        "  from       <a@client.example>",
        f"  to         <{address}>",
        "  subject    hello",
        f"  queued     {address}  (by smtp://127.0.0.1:1)",
    ]
    events = [line.partition("Z  ")[2] for line in lines if "Z  " in line]
    assert events[0].startswith("accepted from 127.0.0.1 (client.example) by ESMTP, ")
    assert events[1] == f"queued for {address}, by smtp://127.0.0.1:1"
    assert events[2].startswith(f"attempt 1 for {address} did not succeed; the next one is at 2")
    assert "      INJECTED FAULT: tempfail (injected)" in lines
    reply = "smtp://127.0.0.1:1 at end: 451 4.3.0 this is a fault that the route injects; nothing was sent"
    assert [line.strip() for line in lines].count(reply) == 1

    late.advance("6d")
    printed = commands("trace", message_id)
    assert f"  dead       {address}" in printed
    assert f"given up for {address} after attempt " in printed
    assert "      Not delivered in 5d. Last result: " in printed
    assert f"no notice was sent about {address} (failed)" in printed


def test_trace_finds_mail_by_id_message_id_and_address(late, commands):
    primary, alias = late.make("both.example"), late.make("both.example", "help")
    late.link(alias, primary)
    message_id = late.deliver(HELLO % b"found@client.example", alias)
    late.settle()
    for what in (message_id, "found@client.example", "<found@client.example>", alias, primary, primary.upper()):
        found = commands.json("trace", what)
        assert [message["id"] for message in found["messages"]] == [message_id]
        assert found == late.json("trace", what=what)
    assert found["messages"][0]["message_id"] == "found@client.example"
    assert {one["status"] for one in found["messages"][0]["deliveries"]} == {"dead"}


def test_trace_finds_mail_by_an_invalid_message_id(late, commands):
    address = late.make("odd-ids.example")
    for header, what in [(b"42@scanner.example", "42@scanner.example"), (b'<"a  b"@x.example>', '<"a  b"@x.example>')]:
        message_id = late.deliver(b"Message-ID: " + header + b"\r\n\r\nHello.\r\n", address)
        assert [message["id"] for message in commands.json("trace", what)["messages"]] == [message_id]


def test_trace_lists_the_newest_message_first(late, commands):
    address = late.new_address()
    ids = [late.deliver(HELLO % b"several@client.example", address) for _ in range(3)]
    found = commands.json("trace", address, "--limit", "2")["messages"]
    assert [message["id"] for message in found] == ids[:0:-1]
    assert commands("trace", address).count("Message ") == 3


def test_trace_shows_refused_mail(late, commands):
    late.new_address()
    assert late.rcpt("nobody@example.com")[0] == 550
    late.wait_for_refusals("nobody@example.com")
    printed = commands("trace", "Nobody@example.com")
    assert printed.startswith("Refused 2")
    assert ", for <nobody@example.com>\n  from       <a@client.example>, by 127.0.0.1 (client.example)\n" in printed
    assert "  reply      550 5.1.1 No such address here" in printed
    (refusal,) = commands.json("trace", "nobody@example.com")["refusals"]
    assert (refusal["stage"], refusal["to"]) == ("rcpt", "nobody@example.com")


def test_another_account_that_creates_the_same_address_does_not_see_its_refused_mail(late, commands):
    gone = late.make("leavers.example", "whistle")
    kept = late.make("leavers.example", "kept")
    late.delete(gone)
    typo = "whistel@leavers.example"
    received = b"Received: from a.example by b.example\r\n" * 101
    assert (late.rcpt(gone)[0], late.rcpt(typo)[0], late.send(received + HELLO % b"x@y.example", kept)[0]) == (
        550,
        550,
        554,
    )
    for address in (gone, typo, kept):
        late.wait_for_refusals(address)

    _, out, _ = commands.run("keys", "create", "--account", "111111111111", "--json")
    made = json.loads(out)
    key = (made["AccessKeyId"], made["SecretAccessKey"])
    other = boto3.client(
        "connect",
        **late.server.client_arguments
        | {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]},
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
    settings = {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": False}
    instance_id = other.create_instance(**settings)["Id"]
    with pytest.raises(other.exceptions.ResourceConflictException):
        other.create_email_address(InstanceId=instance_id, EmailAddress="neighbour@leavers.example")
    late.delete(kept)  # now the domain is free
    for address in ("neighbour@leavers.example", gone, typo, kept):
        other.create_email_address(InstanceId=instance_id, EmailAddress=address)
    for address in (gone, typo, kept):
        assert late.get("trace", what=address, key=key).status == 404
        assert len(late.json("trace", what=address)["refusals"]) == 1


def test_the_trace_of_a_refused_loop_shows_its_path(late, commands):
    address = late.make("late.example")
    received = b"Received: from a.example by b.example\r\n" * 101
    assert late.send(received + HELLO % b"loop@client.example", address)[0] == 554
    late.wait_for_refusals(address)
    printed = commands("trace", address)
    assert "  reply      554 5.4.6 " in printed
    assert "  path       b.example → " in printed


def test_the_error_for_mail_without_a_trace_says_that_nothing_is_known(commands):
    said = commands.refused("trace", "unknown@elsewhere.example")
    assert said.startswith("Nothing was found for unknown@")
    assert said.endswith("A refusal from the last second may not be recorded yet: try again.")
    assert "No message 01a205b2" in commands.refused("trace", "01a205b2-77e9-768b-ae85-598d81456faf")


def test_untrusted_text_in_a_trace_contains_no_control_characters():
    evil = "\x1b]0;\x07\u202e\n"
    event = {"at": "2026", "event": "late bounce", "address": evil, "bounce": evil, "reply": evil}
    refused = {"at": "2026", "from": evil, "to": evil, "peer": evil, "helo": evil, "stage": "rcpt", "reply": evil}
    for line in (
        *timeline.event_lines(event),
        *timeline.event_lines(event | {"event": evil, "anything": evil}),
        *timeline.refusal(refused | {"path": evil}),
    ):
        assert line.isprintable()


def test_a_trace_shows_the_author_of_each_reply():
    def details_of(event, **details):
        return list(timeline.event_lines({"at": "2026", "event": event, "address": "a"} | details))[1:]

    assert details_of("late bounce", bounce="b", reply="552 full") == ["      the receiving system reported: 552 full"]
    attempt = {"attempt": 1, "destination": "smtp://mx.example:25", "peer": "mx"}
    assert details_of("delivered", **attempt, stage="end", reply="552 full") == ["      mx at end: 552 full"]
    assert details_of("delivered", **attempt, stage="connect", reply=" full") == ["      mx at connect: full"]
    in_a_maildir = {"attempt": 1, "destination": "maildir:/mail", "peer": "/mail", "stage": "stored"}
    there = {"reply": "It was there already."}
    assert details_of("delivered", **in_a_maildir, **there) == ["      /mail: It was there already."]
    troubled = {**attempt, "trouble": "timeout", "tls": "TLSv1.3", "fault": "timeout (injected)"}
    assert details_of("dead", **troubled, because="It took long.", path="a → b", status="5.4.6") == [
        "      It took long.",
        "      timeout",
        "      path: a → b",
        "      status 5.4.6",
        "      TLS: TLSv1.3",
        "      INJECTED FAULT: timeout (injected)",
    ]


def test_an_unknown_event_of_a_trace_is_printed_unchanged():
    event = {"at": "2026", "event": "teleported", "address": "a@b.example", "to": "the moon"}
    assert list(timeline.event_lines(event)) == ["  2026  teleported", "      address a@b.example", "      to the moon"]


# The explanation


def test_explain_shows_the_routes_and_expected_results_for_an_alias(late, commands, tmp_path):
    alias, primary = late.new_address("help"), late.make("out.example")
    late.link(alias, primary)
    file = tmp_path / "message.eml"
    file.write_bytes(SIGNED)
    printed = commands("explain", alias, "--from", "ann@client.example", "--message", file)
    assert printed.splitlines()[:3] == [
        f"Mail for {alias} would be accepted.",
        f"  direct -> {alias}",
        f"  forwarded through {alias} -> {primary}, by {late.sink}",
    ]
    assert "      the route in the settings file for *@out.example\n" in printed
    assert "      sender rewritten to bounces.mail.example: the SPF record of client.example" in printed
    assert "      SPF   pass: " in printed
    dkim = "the message is sent unchanged, so a valid signature from client.example stays valid"
    assert f"      DKIM  pass: {dkim}\n" in printed
    dmarc = "if the signature is valid, because it is from client.example, the domain in From"
    assert f"      DMARC pass: {dmarc}\n" in printed
    assert "  The message has 0 Received lines; the maximum is 100.\n" in printed
    assert "header field" not in printed


def test_the_json_of_explain_is_complete(late, commands):
    address = late.make("both.example")
    found = commands.json("explain", address, "--from", "")
    assert found == late.json("explain", address=address, **{"from": "<>"})
    assert found["deliveries"] == [
        {
            "address": address,
            "email_address_id": late.ids[address],
            "reason": "direct",
            "via": None,
            "in_inbox": True,
            "route": {"match": "*@both.example", "to": "lmtp://127.0.0.1:1", "number": None, "fault": "permfail"},
            "destination": "lmtp://127.0.0.1:1",
            "sender": {"rewritten_to": None, "because": "the null sender is never rewritten"},
            "expected": None,
        }
    ]
    assert (found["accepted"], found["loop"]) == (True, None)


def test_explain_without_a_sender_and_a_message_reports_unknown_results(late, commands):
    printed = commands("explain", late.make("late.example"))
    assert "      INJECTED FAULT: tempfail\n" in printed
    assert "      SPF   unknown: it depends on the sender\n" in printed
    assert "      DKIM  unknown: it depends on the message\n" in printed


def test_explain_predicts_the_rewritten_sender(late, sink):
    address = late.make("out.example")
    for sender in ("ann@client.example", "ann@ours.example", ""):
        (delivery,) = late.json("explain", address=address, **{"from": sender})["deliveries"]
        late.deliver(HELLO % b"happens@client.example", address, sender=sender)
        late.settle()
        sent = sink.last_for(address).sender
        assert sent.rpartition("@")[2] == (delivery["sender"]["rewritten_to"] or sender.rpartition("@")[2])


def test_explain_recognizes_a_rewritten_sender(late, sink):
    address = late.make("out.example")
    message_id = late.deliver(HELLO % b"rewritten@client.example", address)
    late.settle()
    rewritten = sink.last_for(address).sender
    found = late.json("explain", address=rewritten)
    assert found["accepted"] is False
    assert found["because"][0].startswith(f"{rewritten} is the rewritten sender of message {message_id}.")
    assert late.json("explain", address=rewritten, **{"from": ""})["accepted"] is True
    found = late.json("explain", address=rewritten, **{"from": "ann@client.example"})
    assert found["accepted"] is False
    assert found["because"] == [f"{rewritten} is not an email address of account 000000000000."]


def test_explain_shows_the_number_of_a_route_that_a_command_has_added(late, commands):
    address = late.make("set.example")
    commands("routes", "add", "*@other.example", "lmtp://127.0.0.1:1", "--unchecked")
    said = commands("routes", "add", "*@set.example", "lmtp://127.0.0.1:1", "--unchecked")
    (delivery,) = commands.json("explain", address)["deliveries"]
    number = delivery["route"]["number"]
    assert number >= 2
    assert said.startswith(f"Added route {number}: ")
    assert f"      route {number} for *@set.example\n" in commands("explain", address)


def test_explain_shows_that_a_looping_message_would_be_refused(late, commands, sink, tmp_path):
    address = late.make("out.example")
    late.deliver(HELLO % b"circle@client.example", address)
    late.settle()
    file = tmp_path / "message.eml"
    file.write_bytes(sink.last_for(address).octets.replace(b"\r\n", b"\n"))  # line ends in files are often LF
    code, printed, err = commands.run("explain", address, "--message", file)
    verdict, *further = printed.splitlines()
    assert (code, err) == (1, "")
    assert verdict.startswith(f"Mail for {address} would be refused: Mail loop: ")
    assert further == ["  The message has 1 Received line; the maximum is 100."]
    code, printed, _ = commands.run("explain", address, "--message", file, "--json")
    assert (code, json.loads(printed)["accepted"]) == (1, False)


@pytest.mark.parametrize("octets", [b"", b"\n", b"Hello Ann,\n\nSubject: none\n", b"{}"])
def test_explain_warns_about_a_file_that_does_not_look_like_a_message(late, commands, tmp_path, octets):
    file = tmp_path / "message.eml"
    file.write_bytes(octets)
    printed = commands("explain", late.new_address(), "--message", file)
    assert printed.endswith("  The file does not begin with a header field, so it may not be a message.\n")


def test_the_error_for_an_unreadable_message_file_names_it(late, commands, tmp_path):
    said = commands.refused("explain", late.new_address(), "--message", tmp_path / "none.eml")
    assert said == f"{tmp_path}/none.eml cannot be read: No such file or directory."


# The test message of `waypost routes test`


def test_routes_test_follows_the_message_to_its_destination(late, commands, sink):
    address = late.make("out.example")
    lines = commands("routes", "test", address).splitlines()
    assert lines[0].endswith(f" was accepted for {address}.")
    assert f"queued for {address}, by {sink.to}" in lines[3]
    assert any(line.endswith(f"delivered to {address} by {sink.to}, with attempt 1") for line in lines)
    probe = sink.last_for(address)
    assert (probe.sender, probe.recipient) == ("", address)
    assert f"Subject: Test of the route for {address}\r\n".encode() in probe.octets
    assert b"You can delete it." in probe.octets


@pytest.mark.parametrize(
    ("domain", "now"), [("late.example", "waits for its next attempt"), ("never.example", "was given up")]
)
def test_routes_test_reports_a_message_that_does_not_arrive(late, commands, domain, now):
    address = late.make(domain)
    code, out, err = commands.run("routes", "test", address)
    assert (code, err) == (1, f"waypost: The delivery to {address} {now}.\n")
    assert "INJECTED FAULT" in out


def test_routes_test_waits_no_longer_than_the_given_time(late, commands):
    address = late.make("slow.example")
    commands("routes", "add", "*@slow.example", late.sink, "--fault", "slow", "--unchecked")
    code, out, err = commands.run("routes", "test", address, "--wait", "0")
    assert (code, err) == (1, f"waypost: The delivery to {address} was not attempted yet.\n")
    assert "did not succeed" not in out


def test_routes_test_prints_the_deliveries_that_it_waits_for(late, commands, monkeypatch):
    address = late.make("hanging.example")
    commands("routes", "add", "*@hanging.example", late.sink, "--fault", "slow", "--unchecked")
    monkeypatch.setattr(probe, "QUIET_SECONDS", 0.0)
    code, _, err = commands.run("routes", "test", address, "--wait", "1")
    waiting, result = err.splitlines()
    assert waiting.startswith(f"No attempt has ended yet for {address}. This command waits for at most 1 s in total")
    assert (code, result) == (1, f"waypost: The delivery to {address} was not attempted yet.")


def test_routes_test_prints_the_message_as_json(late, commands):
    address = late.new_address()
    found = commands.json("routes", "test", address)
    assert [one["status"] for one in found["deliveries"]] == ["delivered"]
    assert late.ids_at(address) == [found["id"]]


def test_routes_test_sends_nothing_to_an_unknown_address(commands):
    said = commands.refused("routes", "test", "unknown@example.com")
    assert said == "unknown@example.com is not an email address of account 000000000000."


def test_routes_test_works_with_a_server_that_requires_tls(tmp_path, capsys, monkeypatch):
    from tests.kit.servers.failing_deliveries import FailingSystem
    from waypost import testing

    with testing.server("--tls-certificate", "self-signed", "--tls-required", "yes") as server:
        system = FailingSystem(server)
        commands = Commands(server.data, capsys, monkeypatch)
        found = commands.json("routes", "test", system.make("bücher.example"))
        system.connect.close()
    assert found["protocol"] == "UTF8SMTPS"
    assert json.dumps(found).count("delivered") >= 2
