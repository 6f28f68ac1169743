"""A server for tests refuses, defers, delays or cuts off incoming mail by rule, and the log and the trace say so."""

import contextlib
import json
import smtplib
import time

import pytest

from tests.e2e.web.test_mail_of_an_account import delete
from tests.kit.patience import PATIENCE, wait_until

HELLO = b"Subject: hello\r\n\r\nHi!\r\n"
STAGES = ["connect", "mail", "rcpt", "data", "message"]


@pytest.fixture
def rules(late):
    """A function that adds a fault rule, and returns its id. At the end, no added rule is left."""

    def add(**rule):
        return late.done("faults", rule)["id"]

    yield add
    assert delete(late, "faults").status == 200


def answer_to(client, octets):
    client.send(octets)
    return client.getreply()


def replies(late, recipient, *, chunks=False):
    """Send a message, and return the replies to the connection, MAIL, RCPT, DATA and the message, as far as they came.

    The last element is None if the server closed the connection instead of replying.
    """
    client = smtplib.SMTP(timeout=PATIENCE, local_hostname="client.example")
    found = []

    def note(step, *arguments):
        code, text = step(*arguments)
        found.append(b"%d %s" % (code, text))
        return code < 400

    try:
        if not note(client.connect, *late.server.smtp):
            return found
        client.ehlo()
        steps = [(client.mail, "ann@shop.example"), (client.rcpt, recipient)]
        if chunks:
            steps.append((answer_to, client, b"BDAT %d LAST\r\n" % len(HELLO) + HELLO))
        else:
            steps += [(client.docmd, "DATA"), (answer_to, client, HELLO + b".\r\n")]
        for step in steps:
            if not note(*step):
                return found
    except (smtplib.SMTPServerDisconnected, ConnectionError):
        found.append(None)
    finally:
        client.close()
    return found


REFUSALS = {
    "refuse": (b"554 5.3.2 No service", b"550 5.7.1 Refused"),
    "defer": (b"421 4.3.2 Service not available", b"451 4.7.1 Deferred"),
}
"""The replies of each action: at the connection, and at later stages."""


@pytest.mark.parametrize("action", REFUSALS)
@pytest.mark.parametrize("stage", STAGES)
def test_the_client_gets_the_refusal_of_a_rule_at_its_stage(late, rules, stage, action):
    address = late.new_address()
    rule = rules(stage=stage, action=action)
    *before, last = replies(late, address)
    assert len(before) == STAGES.index(stage)
    assert last.startswith(REFUSALS[action][stage != "connect"])
    assert last.endswith(f"as fault rule {rule} says".encode())
    assert late.ids_at(address) == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_rule_can_drop_the_connection_so_that_nothing_is_carried_out(late, rules, stage):
    address = late.new_address()
    rules(stage=stage, action="drop")
    *before, last = replies(late, address)
    assert (len(before), last) == (STAGES.index(stage), None)
    assert late.ids_at(address) == []


def test_a_message_is_stored_although_its_reply_is_cut_off(late, rules):
    address = late.new_address()
    rule = rules(stage="message", action="cut")
    assert replies(late, address)[-1] is None
    (message_id,) = late.ids_at(address)
    accepted = late.json(f"messages/{message_id}")["trace"][0]
    assert (accepted["event"], accepted["faults"]) == ("accepted", rule)


def test_a_message_in_chunks_gets_the_fault_of_the_stage_data(late, rules):
    address = late.new_address()
    assert replies(late, address, chunks=True)[-1].startswith(b"250 2.0.0")
    rules(stage="data", action="defer", times=1)
    assert replies(late, address, chunks=True)[-1].startswith(b"451 4.7.1 Deferred")
    assert replies(late, address, chunks=True)[-1].startswith(b"250 2.0.0")
    assert len(late.ids_at(address)) == 2


def test_a_delayed_message_arrives_and_its_trace_names_the_rule(late, rules):
    address = late.new_address()
    rule = rules(stage="rcpt", action="delay", delay="1s", recipient=address)
    began = time.monotonic()
    assert replies(late, address)[-1].startswith(b"250 2.0.0")
    assert time.monotonic() - began >= 1
    (message_id,) = late.ids_at(address)
    assert late.json(f"messages/{message_id}")["trace"][0]["faults"] == rule


def test_a_rule_with_its_own_reply_applies_only_as_often_as_it_says(late, rules):
    address = late.new_address()
    rules(stage="rcpt", action="defer", recipient=address, reply="450 4.2.0 Mailbox busy", times=1)
    assert replies(late, address)[-1] == b"450 4.2.0 Mailbox busy"
    assert replies(late, address)[-1].startswith(b"250 2.0.0")
    (rule,) = late.json("faults")["faults"]
    assert (rule["times"], rule["applied"]) == (1, 1)


def test_a_fault_is_in_the_trace_and_the_log_of_the_owner_of_the_address(late, rules):
    address = late.new_address()
    rule = rules(stage="rcpt", action="refuse", recipient=address)
    replies(late, address)
    late.wait_for_refusals(address)
    (refusal,) = late.json("trace", what=address)["refusals"]
    assert (refusal["stage"], refusal["fault"]) == ("rcpt", rule)

    def logged():
        lines = late.server.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if f'"rule":"{rule}"' in line]

    assert [(line["stage"], line["action"]) for line in wait_until(logged)] == [("rcpt", "refuse")]


@pytest.mark.parametrize(
    ("magic", "reply"),
    [("tempfail", b"451 4.3.0 Deferred, because"), ("bounce", b"550 5.1.1 No such address here, be")],
)
def test_a_magic_recipient_fails_on_behalf_of_the_address_it_stands_for(late, magic, reply):
    address = late.new_address()
    recipient = f"{magic}+{address}"
    assert replies(late, recipient)[-1].startswith(reply)
    late.wait_for_refusals(recipient)
    (refusal,) = late.json("trace", what=recipient)["refusals"]
    assert refusal["fault"] == f"{magic}+"
    unknown = replies(late, f"{magic}+nobody@example.com")[-1]
    assert unknown == b"550 5.1.1 No such address here"


DEPENDS = "This depends on the sender, the client, the size or chance."


def explained(late, address, **query):
    found = late.json("explain", address=address, **query)
    return found["accepted"], found["because"], found["deliveries"]


@pytest.mark.parametrize(("magic", "does"), [("tempfail", "defers"), ("bounce", "refuses")])
def test_explain_says_what_the_server_does_with_a_magic_recipient(late, magic, does):
    address = late.new_address()
    recipient = f"{magic}+{address}"
    because = (
        f"The server is for tests, and {does} mail for recipients that begin with {magic}+. {recipient} stands for "
    )
    assert explained(late, recipient) == (False, [f"{because}{address}."], [])
    accepted, because, _ = explained(late, f"{magic}+nobody@example.com")
    assert (accepted, because) == (
        False,
        [f"{magic}+nobody@example.com is not an email address of account 000000000000."],
    )


def test_explain_names_a_rule_that_would_refuse_the_mail_as_long_as_it_would(late, rules):
    address = late.new_address()
    rule = rules(stage="rcpt", action="defer", recipient=address, times=1)
    because = f'Fault rule {rule} applies at the stage "rcpt" with the action "defer".'
    assert explained(late, address) == (False, [because], [])
    assert replies(late, address)[-1].startswith(b"451 4.7.1")
    accepted, because, _ = explained(late, address)
    assert (accepted, rule in str(because)) == (True, False)


def test_explain_names_the_rules_that_may_apply(late, rules):
    address = late.new_address()
    rules(stage="rcpt", action="refuse", recipient="other@example.com")
    delay = rules(stage="rcpt", action="delay", delay="1s")
    refusal = rules(stage="message", action="refuse", sender="*@shop.example", larger_than=1000)
    accepted, because, deliveries = explained(late, address, **{"from": "ann@shop.example"})
    assert (accepted, len(deliveries)) == (True, 1)
    assert because[:2] == [
        f'Fault rule {delay} applies at the stage "rcpt" with the action "delay".',
        f'Fault rule {refusal} may apply at the stage "message" with the action "refuse". {DEPENDS}',
    ]
    assert refusal not in str(explained(late, address, **{"from": "ann@other.example"}))


def test_a_rule_is_named_once_in_the_trace_of_a_message_with_several_recipients(late, rules, commands):
    addresses = [late.new_address() for _ in range(2)]
    rule = rules(stage="rcpt", action="delay", delay="1s")
    message_id = late.deliver(HELLO, *addresses)
    assert late.json(f"messages/{message_id}")["trace"][0]["faults"] == rule
    assert f"      INJECTED FAULT: {rule}" in commands("trace", message_id).splitlines()


@pytest.mark.parametrize("action", ["cut", "delay"])
def test_the_refusal_of_a_message_names_the_rules_that_delayed_it_or_cut_it_off(late, rules, action):
    address = late.new_address()
    rule = rules(stage="message", action=action, **({"delay": "1s"} if action == "delay" else {}))
    content = b"Received: by mail.example; Mon, 30 Nov 2026 12:00:00 +0000\r\n" * 101 + HELLO
    with contextlib.suppress(smtplib.SMTPServerDisconnected):
        assert late.send(content, address)[0] == 554
    late.wait_for_refusals(address)
    (refusal,) = late.json("trace", what=address)["refusals"]
    assert refusal["fault"] == rule
    assert refusal["path"]


def test_the_refusal_of_an_unknown_recipient_names_the_rule_that_delayed_it(late, rules):
    known, unknown = late.new_address(), f"x{late.new_address()}"
    rule = rules(stage="rcpt", action="delay", delay="1s", recipient=unknown)
    for address in (unknown, f"x{known}"):
        assert replies(late, address)[-1] == b"550 5.1.1 No such address here"
        late.wait_for_refusals(address)
    assert [late.json("trace", what=one)["refusals"][0].get("fault") for one in (unknown, f"x{known}")] == [rule, None]


def test_other_servers_have_no_faults(system):
    address = system.new_address()
    code, text = system.rcpt(f"tempfail+{address}")
    assert (code, text) == (550, b"5.1.1 No such address here")
    assert "for tests" not in str(explained(system, f"tempfail+{address}"))
    answer = system.get("faults")
    assert answer.status == 409
    assert "--testing yes" in answer.json()["error"]


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"stage": "rcpt"}, "`action` is missing."),
        ({"stage": "rset", "action": "defer"}, "`stage` must be "),
        ({"stage": "rcpt", "action": "defer", "times": 0}, "`times` must be a number from 1 to "),
        ({"stage": "rcpt", "action": "defer", "colour": "red"}, "The member 'colour' is unknown."),
        ({"stage": "rcpt", "action": "delay"}, "a rule needs `delay` if its action is"),
        ({"stage": "rcpt", "action": "defer", "source": "here"}, "`source` must be a network"),
        ({"stage": "rcpt", "action": "defer", "probability": 2}, "`probability` must be a number more than 0"),
    ],
)
def test_the_error_for_a_rule_that_cannot_work_names_the_member(late, rule, error):
    answer = late.post("faults", rule)
    assert answer.status == 400
    assert answer.json()["error"].startswith(error)
    assert late.json("faults")["faults"] == []


def test_the_owner_of_another_account_may_not_use_fault_rules(late, commands):
    made = json.loads(commands.run("keys", "create", "--account", "111111111111", "--json")[1])
    answer = late.get("faults", key=(made["AccessKeyId"], made["SecretAccessKey"]))
    assert answer.status == 403
    assert "owns this server" in answer.json()["error"]


def test_removing_an_unknown_rule_is_an_error(late):
    assert delete(late, "faults/fault-99").status == 404
