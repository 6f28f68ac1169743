"""Tests of TLS in the SMTP server: mail over TLS, injected commands, failed handshakes, and changing certificates."""

import asyncio
import os
import socket
import ssl
import warnings
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from tests.kit import certificates
from tests.kit.certificates import TlsClient, authority, client_context, client_hello, issued, tls_setup, until_cut
from tests.kit.patience import NEVER, PATIENCE
from tests.kit.servers.smtp_server import (
    ACCEPTED,
    HELLO,
    MESSAGE,
    FakeStore,
    on_both_loops,
    on_our_loop,
    reset,
    run_on,
    serving,
)
from waypost.net.certificates import BadCertificate, TlsFiles, load
from waypost.observe import events
from waypost.smtp.limits.timeouts import SmtpLimits

IMPLICIT = {"is_tls": True}
GREETING = "220 mail.example ESMTP Waypost"
READY = "220 2.0.0 Ready to start TLS"
BODY = b"".join(b"%07d line of a large message\r\n.\r\n..x\r\n" % n for n in range(30_000))


@asynccontextmanager
async def serving_tls(setup, store=None, *, listener=None, capabilities=None, **bounds):
    """Start a server that offers STARTTLS, and check at the end that it has no connections and no memory in use."""
    capabilities = {"offers_tls": True} | (capabilities or {})
    of_server = {"certificates": setup.certificates}
    async with serving(store, listener=listener, capabilities=capabilities, of_server=of_server, **bounds) as served:
        yield served
        await until_nothing_is_left(served)


async def until_nothing_is_left(served):
    """Wait until no client is connected, and check that the server has no connections and no memory in use."""
    await served.until_nobody_is_connected()
    assert served.backend.admission.connections.count == 0
    assert served.backend.admission.connections.networks == 0
    assert served.backend.memory.used == 0


@asynccontextmanager
async def upgraded(served, context=None, *, and_say=b""):
    """Connect a client that sends STARTTLS and makes the handshake."""
    async with served.client() as client:
        client.say("EHLO client.example", "STARTTLS")
        assert (await client.hear_until("220"))[-1] == READY
        yield await handshake(served, client, context, and_say=and_say)


async def handshake(served, client, context=None, *, and_say=b"") -> TlsClient:
    """Make the client's TLS handshake. `and_say` is sent in the packet that ends the handshake."""
    tls = TlsClient(client.reader, client.writer, context)
    await tls.shake_hands(and_say=and_say)
    if not and_say:
        await served.until(lambda: not is_shaking_hands(served))
    return tls


@asynccontextmanager
async def connected(served, context=None, *, name=certificates.NAME):
    """Connect a client to a TLS listener, without making the handshake."""
    reader, writer = await asyncio.open_connection(*served.address)
    try:
        yield TlsClient(reader, writer, context, name=name)
    finally:
        writer.transport.abort()


async def failure(served):
    """Return the logged reason for the failed handshake, and check that nothing else was logged about the client."""
    await served.until(lambda: served.emitted_of(events.TlsFailed))
    await until_nothing_is_left(served)
    (failed,) = served.emitted_of(events.TlsFailed)
    assert failed.peer == "127.0.0.1"
    assert served.emitted_of(events.SessionClosed) == served.emitted_of(events.Failed) == []
    return failed.reason


# Mail


@on_both_loops
async def test_mail_is_accepted_after_starttls_and_the_trace_has_the_tls_version_and_cipher():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store) as served, upgraded(served) as client:
            client.send(MESSAGE)
            assert ACCEPTED.fullmatch((await client.hear_until("250 2.0.0"))[-1])
            version, (cipher, *_) = client.tls.version(), client.tls.cipher()
            assert store.kept == [b"Hello.\r\n"]
            assert traced(store) == {"protocol": "ESMTPS", "tls": f"{version} {cipher}"}
            assert received(store) == f"with ESMTPS ({version} {cipher})\r\n\tid {ids(store)[0]}\r\n"


@on_both_loops
async def test_mail_is_accepted_on_a_tls_listener():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store, listener=IMPLICIT) as served, connected(served) as client:
            await client.shake_hands()
            assert await client.hear() == GREETING
            client.send(MESSAGE)
            client.say("QUIT")
            *_, accepted, bye = await client.hear_all()
            assert ACCEPTED.fullmatch(accepted)
            assert bye == "221 2.0.0 Bye"
            assert traced(store)["protocol"] == "ESMTPS"
            assert served.emitted_of(events.TlsFailed) == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_both_tls_versions_are_supported_and_recorded(version):
    async def scenario():
        context, store = client_context(), FakeStore()
        context.minimum_version = context.maximum_version = version
        with tls_setup() as setup:
            async with serving_tls(setup, store) as served, upgraded(served, context) as client:
                client.send(MESSAGE)
                await client.hear_until("250 2.0.0")
                assert traced(store)["tls"] == f"{version.name.replace('_', '.')} {client.tls.cipher()[0]}"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("lmtp", "hello", "mail", "protocol"),
    [
        (False, "EHLO", "<a@client.example>", "ESMTPS"),
        (False, "HELO", "<a@client.example>", "SMTPS"),
        (False, "EHLO", "<ä@client.example> SMTPUTF8", "UTF8SMTPS"),
        (True, "LHLO", "<a@client.example>", "LMTPS"),
        (True, "LHLO", "<ä@client.example> SMTPUTF8", "UTF8LMTPS"),
    ],
)
def test_the_protocol_names_tls(lmtp, hello, mail, protocol):
    async def scenario():
        store = FakeStore()
        with tls_setup() as setup:
            async with (
                serving_tls(setup, store, listener=IMPLICIT, capabilities={"lmtp": lmtp}) as served,
                connected(served) as client,
            ):
                await client.shake_hands()
                assert (await client.hear()).startswith("220 ")
                client.say(f"{hello} client.example", f"MAIL FROM:{mail}", *HELLO[2:], "Hello.", ".", "QUIT")
                await client.hear_all()
                assert traced(store)["protocol"] == protocol

    asyncio.run(scenario())


@on_both_loops
async def test_a_large_message_over_tls_is_stored_unchanged():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store) as served, upgraded(served) as client:
            client.say(*HELLO)
            assert (await client.hear_until("354"))[-1]
            stuffed = b"Subject: large\r\n\r\n" + BODY.replace(b"\r\n.", b"\r\n..")
            for start in range(0, len(stuffed), 99_991):
                client.send(stuffed[start : start + 99_991])
                await client.writer.drain()
            client.send(b".\r\n")
            assert ACCEPTED.fullmatch(await client.hear())
            assert store.kept == [b"Subject: large\r\n\r\n" + BODY]
            assert store.begun == {}


# Injected commands


@on_both_loops
async def test_commands_after_starttls_in_the_same_packet_are_never_carried_out():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store) as served, served.client() as client:
            client.writer.write(b"EHLO client.example\r\nSTARTTLS\r\n" + MESSAGE + b"NOOP\r\n")
            assert (await client.hear_until("220"))[-1] == READY
            tls = await handshake(served, client)
            tls.say("VRFY a", "QUIT")
            assert [line[:3] for line in await tls.hear_all()] == ["252", "221"]
            assert store.kept == []


@on_both_loops
async def test_commands_in_the_next_packet_before_the_handshake_are_never_carried_out():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store) as served:
            async with served.client() as client:
                client.say("EHLO client.example", "STARTTLS")
                assert (await client.hear_until("220"))[-1] == READY
                client.writer.write(MESSAGE)
                rest = await until_cut(client.reader)
                assert b"250" not in rest
                assert not rest.strip() or rest.startswith(b"\x15")  # at most an alert
            assert await failure(served) == "the client did not begin a TLS handshake"
            assert store.kept == []


@on_both_loops
async def test_commands_received_while_the_server_was_busy_are_discarded_by_starttls():
    """STARTTLS and further commands arrive while the server looks up the recipient."""
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store) as served, served.client() as client:
            client.say(*HELLO[:3], "STARTTLS", "NOOP", "HELP")
            heard = await client.hear_until("220")
            assert heard[-1] == READY
            tls = await handshake(served, client)
            tls.say("DATA", "QUIT")
            assert [line[:3] for line in await tls.hear_all()] == ["503", "221"]


@on_both_loops
async def test_a_command_in_the_packet_that_ends_the_handshake_is_carried_out():
    with tls_setup() as setup:
        async with serving_tls(setup) as served, upgraded(served, and_say=b"EHLO client.example\r\n") as client:
            async with asyncio.timeout(PATIENCE):
                heard = await client.hear_until("250 ")
            assert heard[0] == "250-mail.example"


@on_both_loops
async def test_a_command_sent_over_tls_before_the_greeting_is_carried_out_after_it():
    with tls_setup() as setup:
        async with serving_tls(setup, listener=IMPLICIT) as served, connected(served) as client:
            await client.shake_hands(and_say=b"EHLO client.example\r\n")
            async with asyncio.timeout(PATIENCE):
                assert await client.hear() == GREETING
                assert (await client.hear_until("250 "))[0] == "250-mail.example"


@on_both_loops
async def test_the_session_is_reset_after_the_handshake():
    with tls_setup() as setup:
        async with serving_tls(setup) as served, served.client() as client:
            client.say("EHLO before.example", "MAIL FROM:<before@client.example>", "RCPT TO:<support@example.com>")
            client.say("STARTTLS")
            assert (await client.hear_until("220"))[-1] == READY
            tls = await handshake(served, client)
            tls.say(
                "DATA", "RCPT TO:<support@example.com>", "MAIL FROM:<>", "EHLO client.example", "DATA", "MAIL FROM:<>"
            )
            codes = [line[:3] for line in [await tls.hear() for _ in range(3)]]
            assert codes == ["503", "503", "503"]
            offered = await tls.hear_until("250 ")
            assert not any("STARTTLS" in line for line in offered)
            assert [(await tls.hear())[:3] for _ in range(2)] == ["503", "250"]


@on_both_loops
async def test_starttls_is_not_offered_again_after_the_handshake():
    with tls_setup() as setup:
        async with serving_tls(setup) as served:
            async with served.client() as client:
                client.say("EHLO client.example")
                assert "250-STARTTLS" in await client.hear_until("250 ")
            async with upgraded(served) as tls:
                tls.say("EHLO client.example", "STARTTLS", "NOOP")
                assert "250-STARTTLS" not in await tls.hear_until("250 ")
                assert await tls.hear() == "503 5.5.1 STARTTLS is out of order: the connection already uses TLS"
                assert await tls.hear() == "250 2.0.0 OK"


@on_both_loops
async def test_without_a_certificate_starttls_is_not_offered():
    async with serving() as served, served.client() as client:
        client.say("EHLO client.example", "STARTTLS", "MAIL FROM:<>")
        assert "250-STARTTLS" not in await client.hear_until("250 ")
        assert await client.hear() == "502 5.5.1 Command not implemented"
        assert await client.hear() == "250 2.1.0 Sender OK"


@on_both_loops
async def test_if_tls_is_required_no_mail_is_accepted_without_tls():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store, capabilities={"needs_tls": True}) as served:
            async with served.client() as client:
                client.say(*HELLO[:3], "VRFY a", "RSET", "DATA", "NOOP", "QUIT")
                codes = [line[:3] for line in await client.hear_all() if not line.startswith("250-")]
                assert codes == ["250", "530", "530", "530", "530", "530", "250", "221"]
            async with upgraded(served) as tls:
                tls.send(MESSAGE)
                assert ACCEPTED.fullmatch((await tls.hear_until("250 2.0.0"))[-1])
            assert store.kept == [b"Hello.\r\n"]


@on_both_loops
async def test_if_tls_is_required_a_cleartext_chunk_is_not_parsed_as_commands():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store, capabilities={"needs_tls": True}) as served, served.client() as client:
            client.say("EHLO client.example")
            await client.hear_until("250 ")
            client.writer.write(b"BDAT 12 LAST\r\nNOOP\r\nNOOP\r\nQUIT\r\n")
            assert [line[:3] for line in await client.hear_all()] == ["530", "221"]


# Handshakes that fail

NOT_FINISHED = "the client did not finish the handshake in time"
DISCONNECTED = "the client disconnected during the handshake"
TOO_OLD = "the client offers only TLS versions before 1.2"

SENT = {
    "TLS 1.0 alone": (client_hello(0x0301, 0x002F, 0xC009, 0xC013), TOO_OLD),
    "TLS 1.1 alone": (client_hello(0x0302, 0x002F, 0xC009, 0xC013), TOO_OLD),
    "no shared cipher": (client_hello(0x0303, 0x0004, 0x0005), "the client offers no cipher that the server supports"),
    "garbage": (b"\x00\x01\x02 no handshake at all\r\n" * 3, "the client did not begin a TLS handshake"),
    "HTTP": (
        b"GET / HTTP/1.1\r\nHost: mail.example\r\n\r\n",
        "the client sent an HTTP request instead of a TLS handshake",
    ),
    "commands": (b"EHLO client.example\r\n", "the client did not begin a TLS handshake"),
}


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS listener"])
@pytest.mark.parametrize("what", SENT)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_server_continues_after_an_impossible_handshake(what, implicit, loop):
    octets, reason = SENT[what]

    async def scenario():
        store = FakeStore()
        with tls_setup() as setup:
            async with serving_tls(setup, store, listener=IMPLICIT if implicit else None) as served:
                async with before_the_handshake(served, implicit=implicit) as tls:
                    tls.writer.write(octets)
                    answer = await until_cut(tls.reader)
                    assert not answer or answer[0] == 0x15  # nothing but an alert
                    assert await failure(served) == reason
                await assert_mail_is_accepted(served, store, implicit=implicit)

    run_on(loop, scenario)


def too_old():
    """A context for a client that supports only versions up to TLS 1.1."""
    context = client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return context


def without_our_ciphers():
    """A context for a client whose only cipher does not fit the server's type of certificate."""
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    return context


def speaking(version, own=None):
    """A context for a client that supports only this version of TLS."""
    context = client_context(own=own)
    context.minimum_version = context.maximum_version = version
    return context


V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
ALERTS = {
    "an old version": (too_old, "TLSV1_ALERT_PROTOCOL_VERSION"),
    "no shared cipher": (without_our_ciphers, "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    "no certificate, TLS 1.2": (lambda: speaking(V1_2), "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    "no certificate, TLS 1.3": (lambda: speaking(V1_3), "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
    "a certificate that has expired, TLS 1.2": (lambda: speaking(V1_2, expired()), "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    "a certificate that has expired, TLS 1.3": (lambda: speaking(V1_3, expired()), "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
}


def alert_of(address, context, *, implicit):
    """Return the reason of the alert that a client receives when its handshake fails."""
    with socket.create_connection(address, timeout=PATIENCE) as client:
        if not implicit:
            replies = client.makefile("rb")
            client.sendall(b"EHLO client.example\r\nSTARTTLS\r\n")
            while not replies.readline().startswith(b"220 2.0.0"):
                pass
        with pytest.raises(ssl.SSLError) as failed:  # noqa: SIM117 - the handshake, or what comes after it in TLS 1.3
            with context.wrap_socket(client, server_hostname=certificates.NAME) as tls:
                tls.recv(1)
        return failed.value.reason


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS listener"])
@pytest.mark.parametrize("what", ALERTS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_whose_handshake_fails_gets_an_alert_with_the_reason(what, implicit, loop):
    make, reason = ALERTS[what]
    clients = authority("of clients").pem if "certificate" in what else b""

    async def scenario():
        with tls_setup(clients=clients) as setup:
            async with serving_tls(setup, listener=IMPLICIT if implicit else None) as served:
                found = await asyncio.to_thread(alert_of, served.address, make(), implicit=implicit)
                assert found == reason
                await failure(served)

    run_on(loop, scenario)


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS listener"])
@pytest.mark.parametrize("what", SENT)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_impossible_handshake_is_logged_once(what, implicit, loop):
    async def scenario():
        with tls_setup() as setup:
            async with serving_tls(setup, listener=IMPLICIT if implicit else None) as served:
                async with before_the_handshake(served, implicit=implicit) as tls:
                    tls.writer.write(SENT[what][0])
                    await until_cut(tls.reader)
                await failure(served)
                assert len(served.emitted_of(events.TlsFailed)) == 1

    run_on(loop, scenario)


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS listener"])
@pytest.mark.parametrize("sent", [0, 1, 100], ids=["before the handshake", "after the first byte", "in the middle"])
@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_disconnects_during_the_handshake_is_logged_once(sent, how, implicit, loop):
    async def scenario():
        store = FakeStore()
        with tls_setup() as setup:
            async with serving_tls(setup, store, listener=IMPLICIT if implicit else None) as served:
                async with before_the_handshake(served, implicit=implicit) as tls:
                    tls.writer.write(tls.first_flight()[:sent])
                    await served.until(lambda: is_shaking_hands(served))
                    if how == "resets":
                        reset(tls.writer)
                    else:
                        tls.writer.write_eof()
                    assert await failure(served) == DISCONNECTED
                assert len(served.emitted_of(events.TlsFailed)) == 1
                await assert_mail_is_accepted(served, store, implicit=implicit)

    run_on(loop, scenario)


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS listener"])
@pytest.mark.parametrize("sent", [0, 1, 100])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_never_finishes_the_handshake_is_disconnected_and_logged_once(sent, implicit, loop):
    async def scenario():
        store = FakeStore()
        with tls_setup() as setup:
            async with serving_tls(setup, store, listener=IMPLICIT if implicit else None, handshake=0.1) as served:
                async with before_the_handshake(served, implicit=implicit) as tls:
                    tls.writer.write(tls.first_flight()[:sent])
                    await until_cut(tls.reader)
                    assert await failure(served) == NOT_FINISHED
                assert len(served.emitted_of(events.TlsFailed)) == 1
                served.server.limits = SmtpLimits(linger=0.2)
                await assert_mail_is_accepted(served, store, implicit=implicit)

    run_on(loop, scenario)


@on_both_loops
async def test_the_log_has_the_reason_if_the_client_does_not_know_the_server_s_authority():
    with tls_setup() as setup:
        async with (
            serving_tls(setup, listener=IMPLICIT) as served,
            connected(served, client_context(authority("unknown"))) as client,
        ):
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.shake_hands()
            assert (
                await failure(served) == "the client does not know the authority that signed the server's certificate"
            )


@on_both_loops
async def test_the_log_has_the_reason_if_the_client_finds_the_certificate_expired():
    expired = authority().issue(begins=-2 * certificates.DAY, ends=-certificates.DAY)
    with tls_setup(expired) as setup:
        async with serving_tls(setup) as served, served.client() as client:
            client.say("EHLO client.example", "STARTTLS")
            await client.hear_until("220")
            with pytest.raises(ssl.SSLCertVerificationError):
                await TlsClient(client.reader, client.writer).shake_hands()
            assert await failure(served) == "the client reported that the server's certificate has expired"


@on_both_loops
async def test_the_log_has_the_reason_if_the_client_expects_another_host_name():
    with tls_setup() as setup:
        async with (
            serving_tls(setup, listener=IMPLICIT) as served,
            connected(served, name="other.example") as client,
        ):
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.shake_hands()
            assert await failure(served) == "the client did not accept the server's certificate"


@on_both_loops
async def test_many_failed_handshakes_leave_nothing_behind():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store, listener=IMPLICIT) as served:

            async def fail(number):
                reader, writer = await asyncio.open_connection(*served.address)
                writer.write([b"", b"\x16", b"garbage\r\n\r\n", client_hello(0x0301, 0x002F)][number % 4])
                writer.write_eof()
                await until_cut(reader)
                writer.transport.abort()

            await asyncio.gather(*map(fail, range(100)))
            await until_nothing_is_left(served)
            await assert_mail_is_accepted(served, store, implicit=True)
        failures = served.emitted_of(events.TlsFailed)  # the server has stopped, and has logged all of them
        assert len(failures) < 100 <= sum(event.count for event in failures)


# Certificates of clients


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS listener"])
def test_a_client_with_a_valid_certificate_can_send_mail(implicit, loop):
    async def scenario():
        store = FakeStore()
        own = authority("of clients").issue("client.example")
        clients = authority("of clients").pem + authority("of clients").revocation_list()
        with tls_setup(clients=clients) as setup:
            async with serving_tls(setup, store, listener=IMPLICIT if implicit else None) as served:
                await assert_mail_is_accepted(served, store, implicit=implicit, context=client_context(own=own))

    run_on(loop, scenario)


def expired():
    return authority("of clients").issue("client.example", begins=-timedelta(days=3), ends=-timedelta(days=2))


REFUSED_CLIENTS = {
    "none": (lambda: None, "the client did not send a certificate, but the server requires one"),
    "expired": (expired, "the server did not accept the client's certificate: certificate has expired"),
    "not yet valid": (
        lambda: authority("of clients").issue("client.example", begins=certificates.DAY),
        "the server did not accept the client's certificate: certificate is not yet valid",
    ),
    "of another authority": (
        lambda: authority("unknown").issue("client.example"),
        "the server did not accept the client's certificate: unable to get local issuer certificate",
    ),
}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("what", REFUSED_CLIENTS)
def test_a_client_without_a_valid_certificate_is_refused_and_the_reason_is_logged(what, loop):
    make, reason = REFUSED_CLIENTS[what]

    async def scenario():
        store = FakeStore()
        with tls_setup(clients=authority("of clients").pem) as setup:
            async with serving_tls(setup, store, listener=IMPLICIT) as served:
                await is_refused(served, client_context(own=make()))
                assert await failure(served) == reason
                await assert_mail_is_accepted(served, store, implicit=True, context=client_context(own=good_client()))

    run_on(loop, scenario)


@on_both_loops
async def test_a_client_whose_certificate_was_revoked_is_refused():
    store = FakeStore()
    lost, good = (authority("of clients").issue(name) for name in ("lost.example", "good.example"))
    clients = authority("of clients").pem + authority("of clients").revocation_list(lost)
    with tls_setup(clients=clients) as setup:
        async with serving_tls(setup, store, listener=IMPLICIT) as served:
            await is_refused(served, client_context(own=lost))
            assert await failure(served) == "the server did not accept the client's certificate: certificate revoked"
            await assert_mail_is_accepted(served, store, implicit=True, context=client_context(own=good))


@on_both_loops
async def test_a_client_certificate_that_is_revoked_while_the_server_runs_is_refused():
    store, own = FakeStore(), authority("of clients").issue("client.example")
    with tls_setup(clients=authority("of clients").pem) as setup:
        async with serving_tls(setup, store, listener=IMPLICIT) as served:
            await assert_mail_is_accepted(served, store, implicit=True, context=client_context(own=own))
            with setup.clients.open("ab") as file:
                file.write(authority("of clients").revocation_list(own))
            await is_refused(served, client_context(own=own))
            assert await failure(served) == "the server did not accept the client's certificate: certificate revoked"


# The certificate changes


@on_both_loops
async def test_a_new_certificate_is_used_for_the_next_handshake_and_open_connections_continue():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store, listener=IMPLICIT) as served, connected(served) as before:
            await before.shake_hands()
            new = authority().issue()
            setup.replace(new.both)
            assert await shown(served) == new.x509.serial_number
            assert await before.hear() == GREETING
            before.send(MESSAGE)
            assert ACCEPTED.fullmatch((await before.hear_until("250 2.0.0"))[-1])
            assert setup.failed == []


BROKEN = {
    "garbage": b"no certificate\n",
    "nothing": b"",
    "no key": issued().pem,
    "key of another": issued().pem + authority().issue().key_pem(),
    "half of it": issued().both[:200],
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_invalid_new_certificate_is_reported_once_and_the_previous_one_stays_in_use(what):
    async def scenario():
        store = FakeStore()
        with tls_setup() as setup:
            async with serving_tls(setup, store, listener=IMPLICIT) as served:
                setup.replace(BROKEN[what])
                for _ in range(3):
                    assert await shown(served) == issued().x509.serial_number
                (failed,) = setup.failed
                assert str(setup.file) in str(failed)
                assert len(str(failed).rpartition(": ")[2]) > 3
                setup.replace(issued("second").both)
                assert await shown(served) == issued("second").x509.serial_number
                assert len(setup.failed) == 1

    asyncio.run(scenario())


@on_both_loops
async def test_a_certificate_whose_file_is_temporarily_missing_stays_in_use():
    with tls_setup() as setup:
        async with serving_tls(setup, listener=IMPLICIT) as served:
            elsewhere = setup.file.rename(setup.file.with_suffix(".away"))
            for _ in range(3):
                assert await shown(served) == issued().x509.serial_number
            assert [str(failed) for failed in setup.failed] == [
                f"{setup.file} cannot be read: No such file or directory."
            ]
            elsewhere.rename(setup.file)
            assert await shown(served) == issued().x509.serial_number
            setup.replace(issued("second").both)
            assert await shown(served) == issued("second").x509.serial_number
            assert len(setup.failed) == 1


@on_both_loops
async def test_a_certificate_that_becomes_a_named_pipe_does_not_stop_the_server():
    with tls_setup() as setup:
        async with serving_tls(setup, listener=IMPLICIT) as served:
            setup.file.unlink()
            os.mkfifo(setup.file)
            assert await shown(served) == issued().x509.serial_number
            assert [str(failed) for failed in setup.failed] == [f"{setup.file} is not a regular file."]


def test_the_certificate_can_be_replaced_before_its_key():
    """Separate files are replaced one after the other. The old pair stays in use until both files are new."""
    new = authority().issue()
    with certificates.in_files(certificate=issued().pem, key=issued().key_pem()) as here:
        failed = []
        made = certificates.Certificates(TlsFiles(here / "certificate.pem", here / "key.pem"), failed=failed.append)
        old = made.context
        (here / "certificate.pem").write_bytes(new.pem)
        assert made.context is old
        assert len(failed) == 1
        (here / "key.pem").write_bytes(new.key_pem())
        assert made.context is not old
        assert made.context is made.context
        assert len(failed) == 1


def test_reload_reads_the_files_even_if_they_have_not_changed():
    with certificates.in_files(certificate=issued().pem, key=issued().key_pem()) as here:
        failed = []
        made = certificates.Certificates(TlsFiles(here / "certificate.pem", here / "key.pem"), failed=failed.append)
        old = made.context
        made.reload()
        new = made.context
        assert new is not old
        (here / "key.pem").write_bytes(b"no key")
        made.reload()
        assert made.context is new
        assert len(failed) == 1


UNUSABLE = {
    "encrypted key": (
        {"certificate": issued().pem, "key": issued().key_pem(b"secret")},
        r"certificate\.pem and \S+key\.pem cannot be used for TLS: the key is encrypted",
    ),
    "missing certificate": (
        {"key": issued().key_pem()},
        r"certificate\.pem cannot be read: No such file or directory",
    ),
    "missing key": (
        {"certificate": issued().pem},
        r"key\.pem cannot be read: No such file or directory",
    ),
    "key of another certificate": (
        {"certificate": issued().pem, "key": authority().key_pem()},
        r"key\.pem is not the key of the certificate in \S+certificate\.pem",
    ),
    "no PEM": (
        {"certificate": b"\0\1\2", "key": issued().key_pem()},
        r"certificate\.pem has no certificate in PEM format",
    ),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_an_invalid_certificate_raises_an_error_that_names_the_file(what):
    contents, said = UNUSABLE[what]
    with certificates.in_files(**contents) as here, pytest.raises(BadCertificate, match=said):
        load(TlsFiles(here / "certificate.pem", here / "key.pem"))


@pytest.mark.parametrize(
    "content", [None, b"", b"garbage", issued().key_pem()], ids=["missing", "empty", "garbage", "key"]
)
def test_an_invalid_authority_raises_an_error_that_names_the_file(content):
    with certificates.in_files(certificate=issued().both) as here:
        authorities, certificate = here / "clients.pem", here / "certificate.pem"
        if content is not None:
            authorities.write_bytes(content)
        with pytest.raises(BadCertificate, match=r"clients\.pem (cannot be read|has no certificate)"):
            load(TlsFiles(certificate, certificate, authorities))


# The end


@on_both_loops
async def test_a_client_that_disconnects_during_a_message_over_tls_leaves_nothing_behind():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store) as served:
            async with upgraded(served) as client:
                client.send(MESSAGE.removesuffix(b".\r\n") + b"More of it.\r\n" * 50_000)
                await client.writer.drain()
                await served.until(lambda: store.begun)
                client.writer.transport.abort()
            await until_nothing_is_left(served)
            await served.until(lambda: store.begun == {})
            assert store.kept == []
            assert served.emitted_of(events.TlsFailed) == []


@on_both_loops
async def test_the_server_closes_the_connection_of_a_client_that_ends_tls():
    with tls_setup() as setup:
        async with serving_tls(setup) as served, upgraded(served) as client:
            client.say("EHLO client.example")
            await client.hear_until("250 ")
            client.close_our_side()
            await until_cut(client.reader)
            await until_nothing_is_left(served)
            assert served.emitted_of(events.TlsFailed) == []


@on_both_loops
async def test_a_message_is_stored_even_if_the_client_ends_tls_before_the_reply():
    store = FakeStore(gate_open=False)
    with tls_setup() as setup:
        async with serving_tls(setup, store) as served, upgraded(served) as client:
            client.send(MESSAGE)
            await store.asked.wait()
            client.close_our_side()
            (connection,) = served.server._connections
            await served.until(lambda: connection._client_is_done or connection._is_lost)
            store.gate.set()
            await until_nothing_is_left(served)
            assert store.kept == [b"Hello.\r\n"]
            assert served.emitted_of(events.Failed) == []


@on_both_loops
async def test_stopping_answers_the_current_message_over_tls_and_sends_421_to_all_clients():
    store = FakeStore(gate_open=False)
    with tls_setup() as setup:
        async with serving_tls(setup, store) as served, upgraded(served) as busy, upgraded(served) as idle:
            busy.send(MESSAGE)
            await store.asked.wait()
            stopping = asyncio.create_task(served.server.stop())
            assert await idle.hear_all() == ["421 4.3.2 Server is shutting down; please try again later"]
            assert not stopping.done()
            store.gate.set()
            *_, answer, farewell = await busy.hear_all()
            assert ACCEPTED.fullmatch(answer)
            assert farewell == "421 4.3.2 Server is shutting down; please try again later"
            for client in (busy, idle):
                client.writer.transport.abort()
            async with asyncio.timeout(PATIENCE):
                await stopping
            assert store.kept == [b"Hello.\r\n"]
            assert served.emitted_of(events.TlsFailed) == []


@on_both_loops
async def test_stopping_does_not_wait_for_tls_clients_that_do_not_read():
    with tls_setup() as setup:
        async with serving_tls(setup) as served, upgraded(served) as client:
            client.send(MESSAGE.removesuffix(b".\r\n"))
            await client.hear_until("354")
            await served.stop()


@pytest.mark.parametrize(
    ("loop", "implicit", "how_far"),
    [
        pytest.param("asyncio", True, "silent"),
        ("uvloop", True, "silent"),
        pytest.param("asyncio", True, "half-way"),
        ("uvloop", True, "half-way"),
        *[(loop, False, how_far) for loop in ("asyncio", "uvloop") for how_far in ("silent", "half-way")],
    ],
)
def test_stopping_does_not_wait_for_handshakes(loop, implicit, how_far):
    async def scenario():
        with tls_setup() as setup:
            async with (
                serving(
                    capabilities={"offers_tls": True},
                    listener=IMPLICIT if implicit else None,
                    of_server={"certificates": setup.certificates},
                    handshake=NEVER,
                ) as served,
                before_the_handshake(served, implicit=implicit) as client,
            ):
                await served.until(lambda: is_shaking_hands(served))
                if how_far == "half-way":
                    client.writer.write(client.first_flight())
                    assert await client.reader.read(1)
                else:
                    for _ in range(4):  # until the server waits for the handshake
                        await asyncio.sleep(0)
                async with asyncio.timeout(PATIENCE):
                    await served.server.stop()

    run_on(loop, scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_closing_the_session_of_a_client_that_is_sending_over_tls_is_not_logged_as_a_tls_failure(loop):
    run_on(loop, close_the_session_of_a_sending_client)


async def close_the_session_of_a_sending_client():
    with tls_setup() as setup:
        async with serving_tls(setup) as served, upgraded(served) as client:
            client.send(MESSAGE.removesuffix(b".\r\n") + b"bare\rcr\r\n")
            client.send(b"and more\r\n" * 20_000)
            assert (await client.hear_until("554"))[-1]
            client.send(b"and more\r\n" * 1_000)
            await until_nothing_is_left(served)
            assert len(served.emitted_of(events.SessionClosed)) == 1
            assert served.emitted_of(events.TlsFailed) == []


@on_both_loops
async def test_a_malformed_tls_record_after_the_handshake_ends_the_connection_and_is_logged():
    with tls_setup() as setup:
        async with serving_tls(setup) as served, upgraded(served) as client:
            client.say("EHLO client.example")
            await client.hear_until("250 ")
            client.writer.write(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
            await until_cut(client.reader)
            await until_nothing_is_left(served)
            (failed,) = served.emitted_of(events.TlsFailed)
            assert "handshake" not in failed.reason


@on_our_loop
async def test_a_hundred_clients_can_send_over_tls_at_the_same_time():
    store = FakeStore()
    with tls_setup() as setup:
        async with serving_tls(setup, store, listener=IMPLICIT) as served:
            context = client_context()

            async def send():
                async with connected(served, context) as client:
                    await client.shake_hands()
                    assert await client.hear() == GREETING
                    client.send(MESSAGE)
                    client.say("QUIT")
                    return ACCEPTED.fullmatch((await client.hear_all())[-2])["id"]

            message_ids = await asyncio.gather(*(send() for _ in range(100)))
            assert len(set(message_ids)) == len(store.kept) == 100
            assert served.emitted_of(events.TlsFailed) == []


# Helpers of the tests above


@asynccontextmanager
async def before_the_handshake(served, *, implicit, context=None):
    """Connect a client whose next bytes must be a TLS handshake."""
    reader, writer = await asyncio.open_connection(*served.address)
    try:
        if not implicit:
            writer.write(b"EHLO client.example\r\nSTARTTLS\r\n")
            while await reader.readline() != READY.encode() + b"\r\n":
                pass
        yield TlsClient(reader, writer, context)
    finally:
        writer.transport.abort()


def is_shaking_hands(served) -> bool:
    """Return whether a client is connected whose TLS handshake is in progress."""
    return any(connection._answering for connection in served.server._connections)


async def assert_mail_is_accepted(served, store, *, implicit, context=None):
    """Check that the server accepts a message."""
    before = len(store.kept)
    async with before_the_handshake(served, implicit=implicit, context=context) as client:
        await client.shake_hands()
        if implicit:
            assert await client.hear() == GREETING
        await served.until(lambda: not is_shaking_hands(served))
        client.send(MESSAGE)
        assert ACCEPTED.fullmatch((await client.hear_until("250 2.0.0"))[-1])
    assert len(store.kept) == before + 1


async def is_refused(served, context):
    """Check that a client's handshake fails. With TLS 1.3, the client gets the error only when it reads."""
    async with connected(served, context) as client:
        with pytest.raises(ssl.SSLError, match=r"(?i)alert|EOF|closed"):  # noqa: PT012 - either of the two calls may fail
            await client.shake_hands()
            await client.hear()
            raise ssl.SSLError("closed without an alert")


def good_client():
    return authority("of clients").issue("client.example")


async def shown(served) -> int:
    """Return the serial number of the certificate that the server uses now."""
    from cryptography import x509

    async with connected(served) as client:
        await client.shake_hands()
        assert await client.hear() == GREETING
        return x509.load_der_x509_certificate(client.tls.getpeercert(binary_form=True)).serial_number


def ids(store) -> list[str]:
    return [row[0] for row in store._tx.connection.execute("SELECT id FROM messages ORDER BY id")]


def traced(store) -> dict:
    """Return the protocol and TLS version of the last message, from the trace."""
    accepted = store._tx.trace(ids(store)[-1])[0].detail
    return {"protocol": accepted.protocol, "tls": accepted.tls}


def received(store) -> str:
    """Return the part of the last message's Received field that describes the protocol."""
    (delivery,) = store._tx.deliveries_of("000000000000", ids(store)[-1])
    header = delivery.trace_header.decode()
    return "with " + header.partition(" with ")[2].partition("\tfor ")[0]


@on_both_loops
async def test_a_client_that_resets_right_after_starttls_is_not_counted_as_connected():
    with tls_setup() as setup:
        async with serving_tls(setup) as served:
            for _ in range(20):
                async with served.client() as client:
                    client.say("EHLO client.example")
                    await client.hear_until("250 HELP")
                    client.say("STARTTLS", "NOOP")
                    reset(client.writer)
            await until_nothing_is_left(served)
