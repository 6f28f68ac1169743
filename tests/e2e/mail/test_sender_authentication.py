"""SPF, DKIM and DMARC checks of incoming mail, recorded or enforced, with a DNS server that the tests run."""

import contextlib
import smtplib
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes

import pytest

from tests.kit.patience import wait_until
from tests.kit.peers.dns_server import SERVFAIL, Zone
from tests.kit.peers.proxied_client import ProxiedClient
from tests.kit.servers.running import System, logged
from tests.kit.signed_mail import MESSAGE, sign, zone_of
from waypost import testing

AUTHORIZED, UNAUTHORIZED = "192.0.2.1", "198.51.100.9"
"""A client that may send mail for example.com, and a client that may not."""


def knows(server, *, works):
    """Return whether the server has logged that the DNS works, or that it does not.

    On a slow machine, the server may first log the opposite.
    """
    return any(event["works"] is works for event in logged(server, "dns_changed"))


@contextlib.contextmanager
def system_with(zone, mode, *further):
    host, port = zone.address
    options = ["--authentication", mode, "--dns", f"{host}:{port}", "--proxy-networks", "127.0.0.1/32"]
    with testing.server("--hostname", "mx.here.example", *options, *further) as server:
        system = System(server)
        wait_until(lambda: knows(server, works=not zone.silent))
        yield system
        system.connect.close()


@pytest.fixture(scope="module")
def recording():
    with Zone(zone_of() | {"_dmarc.broken.example": SERVFAIL}) as zone, system_with(zone, "record") as system:
        yield system


@pytest.fixture(scope="module")
def enforcing():
    with Zone(zone_of() | {"_dmarc.broken.example": SERVFAIL}) as zone, system_with(zone, "enforce") as system:
        yield system


def send(system, address, message, *, peer, sender="ann@example.com", mail_options=(), rcpt_options=()):
    """Send a message and return its id."""
    with ProxiedClient(system.server, peer) as client:
        client.ehlo("mx.example.com")
        client.mail(sender, mail_options)
        client.rcpt(address, rcpt_options)
        code, text = client.data(message)
    if code != 250:
        raise smtplib.SMTPDataError(code, text)
    return text.split()[1].decode()


def verdicts_of(system, message_id):
    """Return the verdicts in the trace of a message, and the message as the inspection API returns it."""
    found = system.json(f"messages/{message_id}")
    (checked,) = [event for event in found["trace"] if event["event"] == "checked"]
    return (checked["spf"], checked["dkim"], checked["dmarc"]), found


def copy(system, message_id, address):
    return system.get(f"messages/{message_id}/raw", address=address).body


def test_the_results_of_the_checks_are_in_the_trace_and_in_front_of_the_message(recording):
    alias, primary = recording.linked_pair()
    message = sign()
    message_id = send(recording, alias, message, peer=AUTHORIZED)
    verdicts, _ = verdicts_of(recording, message_id)
    assert verdicts == ("pass (example.com)", "pass (example.com)", "pass (example.com)")
    for address in (alias, primary):
        header, _, _ = copy(recording, message_id, address).partition(message)
        assert b"\r\nAuthentication-Results: mx.here.example;\r\n\tspf=pass smtp.mailfrom=example.com;\r\n" in header
        assert b"\r\n\tdmarc=pass header.from=example.com" in header
        assert copy(recording, message_id, address).endswith(message)


def test_a_large_message_is_checked_like_a_small_one(recording):
    address = recording.new_address()
    message_id = send(recording, address, sign(MESSAGE + b"x" * 70 + b"\r\n" * 200_000), peer=UNAUTHORIZED)
    assert verdicts_of(recording, message_id)[0] == ("fail (example.com)", "pass (example.com)", "pass (example.com)")


def test_a_forged_message_is_recorded_as_such_and_delivered(recording):
    address = recording.new_address()
    message_id = send(recording, address, MESSAGE, peer=UNAUTHORIZED)
    assert verdicts_of(recording, message_id)[0] == ("fail (example.com)", "none", "fail (example.com)")


def test_forged_results_with_the_server_s_own_name_are_counted_and_not_shown(recording):
    address = recording.new_address()
    forged = b"Authentication-Results: MX.here.example; dmarc=pass header.from=example.com\r\n"
    foreign = b"Authentication-Results: list.example; dkim=pass header.d=example.com\r\n"
    message_id = send(recording, address, forged + foreign + MESSAGE, peer=UNAUTHORIZED)
    _, found = verdicts_of(recording, message_id)
    assert found["authentication_results"] == ["list.example; dkim=pass header.d=example.com"]
    assert found["trace"][0]["forged_authentication_results"] == 1
    assert copy(recording, message_id, address).endswith(forged + foreign + MESSAGE)


def test_a_message_that_fails_dmarc_with_p_reject_is_refused_if_dmarc_is_enforced(enforcing):
    address = enforcing.new_address()
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(enforcing, address, MESSAGE, peer=UNAUTHORIZED)
    assert refused.value.smtp_code == 550
    assert refused.value.smtp_error.startswith(b"5.7.26 Message fails DMARC")
    assert enforcing.json("messages", address=address)["messages"] == []
    assert send(enforcing, address, sign(), peer=UNAUTHORIZED)
    assert send(enforcing, address, MESSAGE, peer=AUTHORIZED)


EVIL = "x@evil.example"
"""A sender whose domain has no DNS records."""


@pytest.mark.parametrize(
    "field",
    [
        "Ann <ann@example.com>",
        "ann@example.com <ann@example.com>",
        "Doe, Ann <ann@example.com>",
        '"Ann <ann@example.com>',
        "Ann (Sales <ann@example.com>",
        f"Ann <ann@example.com>, {EVIL}",
        f"<ann@example.com> <{EVIL}>",
        f"ann@example.com <{EVIL}>",
        f"ann@example.com; {EVIL}",
        f"Ann <ann@example.com>\r\nFrom: {EVIL}",
        f"{EVIL}\r\nFrom: Ann <ann@example.com>",
        "ann＠example.com",
        "ann@ｅｘａｍｐｌｅ.com",
    ],
)
def test_a_malformed_from_field_does_not_prevent_the_refusal(enforcing, field):
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(enforcing, enforcing.new_address(), f"From: {field}\r\n\r\nx\r\n".encode(), peer=UNAUTHORIZED, sender=EVIL)
    assert refused.value.smtp_code == 550
    assert refused.value.smtp_error.startswith(b"5.7.26 ")


@pytest.mark.parametrize("field", ["ann@example.com <ann@example.com>", "Doe, Ann <ann@example.com>", "Ann" * 30])
def test_a_malformed_from_field_of_an_authenticated_sender_is_accepted(enforcing, field):
    address = enforcing.new_address()
    message_id = send(enforcing, address, f"From: {field}\r\n\r\nx\r\n".encode(), peer=AUTHORIZED)
    assert (verdicts_of(enforcing, message_id)[0][2] == "pass (example.com)") == ("@" in field)


def test_too_many_domains_in_the_from_field_are_refused(enforcing, recording):
    message = f"From: {', '.join(f'a@{number}.example' for number in range(9))}\r\n\r\nx\r\n".encode()
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(enforcing, enforcing.new_address(), message, peer=UNAUTHORIZED)
    assert refused.value.smtp_code == 550
    assert refused.value.smtp_error.startswith(b"5.7.1 Too many addresses in From, or more than")
    assert b" more than 8 domains," in refused.value.smtp_error
    assert send(recording, recording.new_address(), message, peer=UNAUTHORIZED)


def test_an_ambiguous_from_field_with_a_failing_domain_is_deferred(enforcing):
    address = enforcing.new_address()
    message = b"From: bob@broken.example via List <ann@example.com>\r\n\r\nx\r\n"
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(enforcing, address, message, peer=AUTHORIZED)
    assert refused.value.smtp_code == 451
    assert refused.value.smtp_error.startswith(b"4.7.0 From does not have exactly one domain")
    assert send(enforcing, address, message.replace(b"bob@broken.example", b"bob"), peer=AUTHORIZED)


def test_a_from_domain_whose_dns_fails_is_deferred_only_if_dmarc_is_enforced(enforcing, recording):
    message = b"From: bob@broken.example\r\n\r\nx\r\n"
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(enforcing, enforcing.new_address(), message, peer=UNAUTHORIZED)
    assert refused.value.smtp_code == 451
    assert refused.value.smtp_error.startswith(b"4.7.0 The sender cannot be authenticated now, because the DNS")
    address = recording.new_address()
    message_id = send(recording, address, message, peer=UNAUTHORIZED)
    assert verdicts_of(recording, message_id)[0][2] == "temperror (broken.example)"


def test_a_refused_large_message_leaves_no_data(enforcing):
    address = enforcing.new_address()
    with pytest.raises(smtplib.SMTPDataError):
        send(enforcing, address, MESSAGE + b"x" * 70 + b"\r\n" * 200_000, peer=UNAUTHORIZED)
    assert enforcing.json("messages", address=address)["messages"] == []


def test_mail_from_this_machine_is_not_checked(enforcing):
    address = enforcing.new_address()
    message_id = send(enforcing, address, MESSAGE, peer="127.0.0.9")
    assert "checked" not in [event["event"] for event in enforcing.json(f"messages/{message_id}")["trace"]]
    assert b"Authentication-Results" not in copy(enforcing, message_id, address)


FORGED = b"Authentication-Results: mx.here.example; dmarc=pass header.from=example.com\r\n"


def first_results(octets):
    """Return the unfolded value of the first `Authentication-Results` field of a message."""
    return message_from_bytes(octets)["Authentication-Results"].replace("\r\n", "")


def none_because(reason):
    return f"mx.here.example; none\t({reason})"


@pytest.fixture(scope="module")
def without_dns():
    with Zone(zone_of()) as zone:
        zone.silent = True
        yield zone


def is_taken(system, address, message):
    """Return whether the server accepts a message instead of deferring it."""
    try:
        return bool(send(system, address, message, peer=UNAUTHORIZED))
    except smtplib.SMTPDataError as refused:
        if refused.smtp_code == 451:
            return False
        raise


FLOOD = 24
"""The number of concurrent messages, which is more than the server checks for one network at the same time."""


@pytest.mark.slow
def test_many_messages_of_a_domain_with_silent_dns_do_not_admit_forged_mail():
    with Zone(zone_of()) as zone, system_with(zone, "enforce") as system:
        zone.silent_below = "slow.example"
        address = system.new_address()

        def flood(number):
            silent = f"{number}.slow.example"
            message = f"From: a@{silent}\r\n\r\nx\r\n".encode()
            try:
                return send(system, address, message, peer="203.0.113.66", sender=f"a@{silent}")
            except smtplib.SMTPDataError as refused:
                return refused.smtp_code

        with ThreadPoolExecutor(FLOOD) as threads:
            flooding = [threads.submit(flood, number) for number in range(FLOOD)]
            wait_until(lambda: sum("slow.example" in name for name, *_ in zone.questions) >= FLOOD // 2)
            with pytest.raises(smtplib.SMTPDataError) as refused:
                send(system, address, MESSAGE, peer=UNAUTHORIZED)
            assert refused.value.smtp_code in {550, 451}  # 451 on a machine on which a check takes seconds
            wait_until(lambda: is_taken(system, address, sign()))
            assert [each.result() for each in flooding] == [451] * FLOOD
        assert len(system.json("messages", address=address)["messages"]) == 1


@pytest.mark.slow
def test_mail_is_deferred_while_the_dns_is_silent_if_dmarc_is_enforced(without_dns):
    with system_with(without_dns, "enforce") as system:
        address = system.new_address()

        def is_deferred(why):
            with pytest.raises(smtplib.SMTPDataError) as refused:
                send(system, address, MESSAGE, peer=UNAUTHORIZED)
            assert refused.value.smtp_code == 451
            assert refused.value.smtp_error.startswith(b"4.7.0 The sender cannot be authenticated now (")
            return why in refused.value.smtp_error

        wait_until(lambda: is_deferred(b"(the DNS does not answer); please try again"))
        assert system.json("messages", address=address)["messages"] == []
        wait_until(lambda: system.get("trace", what=address).status == 200)  # the refusal is stored a second later
        refusal = system.json("trace", what=address)["refusals"][0]
        assert refusal["stage"] == "message"
        assert refusal["unchecked"] in refusal["reply"]


def test_mail_is_accepted_as_unchecked_while_the_dns_is_silent_if_dmarc_is_recorded(without_dns):
    with system_with(without_dns, "record") as system:
        address = system.new_address()
        message_id = send(system, address, FORGED + MESSAGE, peer=UNAUTHORIZED)
        trace = system.json(f"messages/{message_id}")["trace"]
        assert "checked" not in [event["event"] for event in trace]
        assert trace[0]["unchecked"] in {"the DNS does not answer", "the process that checks messages is not running"}
        assert first_results(copy(system, message_id, address)) == none_because(trace[0]["unchecked"])
        assert copy(system, message_id, address).endswith(FORGED + MESSAGE)


@pytest.mark.parametrize("proxied", [("--proxy-networks", "127.0.0.1/32"), ()])
def test_a_forged_results_field_is_not_the_first_if_senders_are_not_checked(proxied):
    with testing.server("--hostname", "mx.here.example", "--trusted-networks", "", *proxied) as server:
        system = System(server)
        alias, primary = system.linked_pair()
        if proxied:
            message_id = send(system, alias, FORGED + MESSAGE, peer=UNAUTHORIZED)
        else:
            message_id = system.deliver(FORGED + MESSAGE, alias)
        for address in (alias, primary):
            octets = copy(system, message_id, address)
            assert first_results(octets) == none_because("this server does not check senders")
            assert octets.endswith(FORGED + MESSAGE)
        found = system.json(f"messages/{message_id}")
        assert found["authentication_results"] == []
        assert found["trace"][0]["forged_authentication_results"] == 1
        assert "unchecked" not in found["trace"][0]
        system.connect.close()


def test_mail_from_a_trusted_network_gets_no_results_field_if_senders_are_not_checked():
    with testing.server("--hostname", "mx.here.example") as server:
        system = System(server)
        address = system.new_address()
        message_id = system.deliver(MESSAGE, address)
        assert b"Authentication-Results" not in copy(system, message_id, address)
        system.connect.close()


def test_a_notice_is_not_sent_to_a_private_address_that_an_outside_mx_record_names(tmp_path):
    file = tmp_path / "waypost.toml"
    file.write_text(
        '[[route]]\nmatch = "*"\nto = "smtp://127.0.0.1:1"\nfault = "permfail"\n'
        '[delivery]\nbounces_via = { to = "mx:" }\n'
    )
    records = {"evil.example": {"TXT": ["v=spf1 +all"], "MX": ["10 localhost."]}}
    with Zone(records) as zone, system_with(zone, "record", "--config", str(file)) as system:
        message = b"From: x@evil.example\r\n\r\nx\r\n"
        send(system, system.new_address(), message, peer=UNAUTHORIZED, sender="x@evil.example")
        (notice,) = wait_until(lambda: [each for each in system.json("queue")["deliveries"] if each["because"]])
        assert (notice["to"], notice["destination"]) == ("x@evil.example", "mx:evil.example")
        assert "at connect: forbidden: The DNS names a host with a private address" in notice["because"]
