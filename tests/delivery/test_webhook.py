"""Deliveries by webhook: the requests that receivers get, forbidden addresses, and the meaning of each failure."""

import asyncio
import email
import email.policy
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import force_setattr, replace

from tests.kit.certificates import Authority, authority, client_context
from tests.kit.examples import examples
from tests.kit.patience import PATIENCE, until
from tests.kit.peers.webhook_receiver import (
    OCTETS,
    PART,
    RECEIVED_AT,
    SECRET,
    Receiver,
    a_parcel,
    a_route,
    answering,
    answering_amid_the_body,
    hanging,
    leaving_after_the_body,
    leaving_amid_the_body,
    leaving_at_once,
    not_reading,
    saying,
    saying_then_hanging,
    saying_without_end,
)
from tests.kit.servers.smtp_server import LOOPS, reset
from waypost.delivery.webhook import ANSWER_LIMIT, Timeouts, WebhookTransport
from waypost.domain.mail.delivery import Policy, Protocol, Queued, Stage, Then, Trouble, decide

ROOT = Path(__file__).parents[2]
LARGE = a_parcel(b"x" * 16 * 1024 * 1024)
"""A message that is larger than the buffers of two sockets."""

NO_CONNECTION = Timeouts(connect=0.1)
NOT_TAKEN = Timeouts(part=0.1)
NO_ANSWER = Timeouts(answer=0.1)
"""Short time limits for tests in which the stage with the short limit times out."""
NOT_REACHED = Timeouts(answer=3 * PATIENCE)
"""A time limit for tests in which the response, or its error, arrives immediately. A test that reached this limit would
fail.
"""


class Names:
    """A resolver that returns the addresses that a test sets."""

    def __init__(self, *addresses, error=None):
        self.addresses, self.error, self.asked = addresses, error, 0

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked += 1
        if self.error:
            raise self.error
        found = self.addresses if isinstance(self.addresses[0], str) else self.addresses[self.asked - 1]
        kinds = [(address, socket.AF_INET6 if ":" in address else socket.AF_INET) for address in found]
        return [
            {"hostname": host, "host": address, "port": port, "family": kind, "proto": 0, "flags": 0}
            for address, kind in kinds
        ]

    async def close(self):
        pass


def run(test, loop=LOOPS[1]):
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(asyncio.wait_for(test, 2 * PATIENCE))


async def send(route, parcel=None, *, times=1, **options):
    transport = WebhookTransport(
        **{"timeouts": Timeouts(connect=PATIENCE, part=PATIENCE, answer=PATIENCE), "tls": client_context()} | options
    )
    try:
        for _ in range(times):
            result = await transport.attempt(parcel or a_parcel(), route)
    finally:
        await transport.close()
    return result


async def to(script, parcel=None, *, certificate=None, **options):
    async with Receiver(script, certificate) as receiver:
        return await send(a_route(receiver.url), parcel, **options), receiver


def decided(result):
    queued = Queued(delivery_id="x", attempts=0, queued_at=RECEIVED_AT)
    decision = decide(queued, result, RECEIVED_AT, Policy())
    return decision.then, decision.is_of_destination


# The requests that a receiver gets


@pytest.fixture(scope="module")
def page():
    """The example code of the page on webhooks, as a receiver would use it."""
    text = (ROOT / "docs" / "how-to" / "webhooks.md").read_text(encoding="utf-8")
    code = {}
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(example, code)
    return code


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
def test_a_receiver_gets_the_metadata_and_the_exact_bytes(page, is_tls, loop):
    certificate = authority().issue() if is_tls else None
    result, receiver = run(to(answering("200 OK", b"taken\nand more"), certificate=certificate), loop)
    assert (result.protocol, result.stage, result.code, result.trouble) == (Protocol.WEBHOOK, Stage.END, 200, None)
    assert (result.peer, result.text) == (receiver.url, "OK: taken")
    (request,) = receiver.requests
    assert request.line == "POST /hook HTTP/1.1"
    parcel = a_parcel()
    metadata, message = page["parts"](request.headers, request.body)
    assert message == parcel.header + OCTETS
    assert metadata == {
        "delivery_id": parcel.delivery.id,
        "message_id": parcel.message.id,
        "address": "support@example.com",
        "sent_to": "Help@example.com",
        "via": "help@example.com",
        "reason": "forwarded",
        "from": "a@client.example",
        "received_at": "2026-11-22T12:00:00.123Z",
        "size": len(message),
        "subject": "Hällo",
    }
    assert request.headers["Idempotency-Key"] == parcel.delivery.id
    assert re.fullmatch(r"Waypost/[\d.]+", request.headers["User-Agent"])
    assert "Transfer-Encoding" not in request.headers


@settings(max_examples=examples(20))
@given(st.binary(max_size=3 * PART))
def test_any_bytes_arrive_unchanged(octets):
    _, receiver = run(to(answering(), a_parcel(octets)))
    (request,) = receiver.requests
    assert request.body.count(a_parcel().header + octets + b"\r\n--") == 1


def test_web_frameworks_can_parse_the_form(page):
    """The parser of the standard library stands in for the parsers of web frameworks."""
    _, receiver = run(to(answering()))
    (request,) = receiver.requests
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    form = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    metadata, message = form.iter_parts()
    assert metadata.get_content_type() == "application/json"
    assert metadata["Content-Disposition"].params["name"] == "metadata"
    assert message.get_content()["Subject"] == "Hello"
    assert message["Content-Disposition"].params["filename"] == "message.eml"
    assert page["parts"](request.headers, request.body)[0]["reason"] == "forwarded"


def test_the_example_code_accepts_only_requests_with_a_valid_signature(page):
    is_ours = page["is_from_waypost"]
    _, receiver = run(to(answering(), a_parcel(b"x" * 1_000_000)))
    (request,) = receiver.requests
    stamp = int(request.headers["Waypost-Timestamp"])
    assert abs(time.time() - stamp) < 60
    assert is_ours(request.headers, request.body, SECRET)
    assert not is_ours(request.headers, request.body, SECRET + ".")
    assert not is_ours(request.headers, request.body + b" ", SECRET)
    assert not is_ours(request.headers | {"Waypost-Timestamp": str(stamp + 1)}, request.body, SECRET)
    assert not is_ours(request.headers, request.body, SECRET, tolerance=-1)
    assert not is_ours(request.headers | {"Waypost-Signature": "v1=é"}, request.body, SECRET)
    assert not is_ours({}, request.body, SECRET)


def test_attempts_of_one_delivery_have_the_same_body_and_different_deliveries_different_boundaries():
    _, receiver = run(to(answering(), times=2))
    first, second = receiver.requests
    assert first.body == second.body
    _, receiver = run(to(answering(), a_parcel(number=2)))
    assert receiver.requests[0].headers["Content-Type"] != first.headers["Content-Type"]


def test_the_author_of_a_message_cannot_predict_the_boundary():
    async def scenario():
        async with Receiver(answering()) as receiver:
            route = a_route(receiver.url)
            await send(route)
            await send(replace(route, secret="another secret of some length"))
            return receiver.requests

    first, second = run(scenario())
    assert first.headers["Content-Type"] != second.headers["Content-Type"]


def test_a_connection_is_reused():
    _, receiver = run(to(answering("200 OK", b"x" * 100), times=3))
    assert (len(receiver.requests), receiver.connections) == (3, 1)


OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "cut",
    [len(OTHER), len(OTHER) - 2, len(OTHER) - 1, 0],
    ids=["after the response", "after the headers", "inside the body", "all at once"],
)
def test_bytes_after_a_response_are_not_read_as_the_response_to_the_next_delivery(cut, loop):
    """Otherwise, if a receiver sent several responses at once, each delivery would get the response to another
    delivery.
    """

    async def script(talk):
        await talk.request()
        if talk.number == 1:
            await talk.say((OTHER + OTHER)[:cut])
            await talk.receiver.told.wait()
            await talk.say((OTHER + OTHER)[cut:])
            assert await talk.reader.read() == b""  # the connection is closed
        else:
            await talk.say(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    async def scenario():
        async with Receiver(script) as receiver:
            receiver.told = asyncio.Event()
            transport, route = WebhookTransport(), a_route(receiver.url)
            attempt = asyncio.create_task(transport.attempt(a_parcel(), route))
            if cut == len(OTHER):
                await attempt
            else:  # the headers have been read, and the rest has not arrived yet
                await until(lambda: receiver.requests and receiver.requests[0].body)
                connector = transport._sessions[True].connector
                await until(lambda: cut == 0 or any(proto.heads.is_over for proto in connector._acquired))
            kept = [proto for waiting in transport._sessions[True].connector._conns.values() for proto, _ in waiting]
            receiver.told.set()
            first = await attempt
            await until(lambda: not any(proto.is_connected() for proto in kept))
            second = await transport.attempt(a_parcel(number=2), route)
            await transport.close()
            return first, second, receiver

    first, second, receiver = run(scenario(), loop)
    assert (first.code, second.code) == (200, 500)
    assert receiver.connections == 2


def test_a_connection_is_not_reused_after_a_response_that_is_too_long():
    _, receiver = run(to(answering("200 OK", b"x" * 3 * ANSWER_LIMIT), times=3))
    assert (len(receiver.requests), receiver.connections) == (3, 3)


LARGE_MESSAGE = """
import asyncio, os, resource
from msgspec.structs import force_setattr
from tests.kit.peers.webhook_receiver import Receiver, a_parcel, a_route
from waypost.delivery.webhook import WebhookTransport

part, times = os.urandom(1 << 20), 96

async def octets():
    for _ in range(times):
        yield part

async def taking(talk):
    left = int((await talk.head()).headers["Content-Length"])
    while left:
        left -= len(await talk.reader.read(min(left, 1 << 16)))
    await talk.say(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def main():
    transport = WebhookTransport()
    async with Receiver(taking) as receiver:
        await transport.attempt(a_parcel(), a_route(receiver.url))
        before, parcel = peak(), a_parcel(size=times << 20)
        force_setattr(parcel, "octets", octets)
        result = await transport.attempt(parcel, a_route(receiver.url))
        assert result.code == 200, result
        print(peak() - before)
    await transport.close()

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_large_message_is_never_completely_in_memory():
    """The test uses a separate process, in which nothing else has used memory before."""
    ran = subprocess.run(
        [sys.executable, "-c", LARGE_MESSAGE], cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 24 * 1024, f"{ran.stdout} KiB more for a message of 96 MiB"


def test_aiohttp_and_dnspython_are_not_imported_until_they_are_needed():
    modules = "waypost.delivery.webhook, waypost.delivery.smtp_client.dns"
    code = f"import sys, {modules}; print({{'aiohttp', 'dns'}} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_proxies_and_passwords_from_the_environment_are_not_used(monkeypatch, tmp_path):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", os.fspath(netrc))
    result, receiver = run(to(answering()))
    assert result.code == 200
    assert "Authorization" not in receiver.requests[0].headers


def test_the_query_of_the_url_is_sent_but_not_shown():
    async def scenario():
        async with Receiver(answering()) as receiver:
            return await send(a_route(receiver.url + "?token=secret")), receiver

    result, receiver = run(scenario())
    assert receiver.requests[0].line == "POST /hook?token=secret HTTP/1.1"
    assert result.peer == f"{receiver.url}?…"


@pytest.mark.parametrize(
    "answer", ["HTTP/1.1 nothing\r\n\r\n", "HTTP/1.1 503 no {target}\r\nContent-Length: 0\r\n\r\n"]
)
def test_no_text_about_a_response_contains_the_query_of_the_url(answer):
    async def script(talk):
        request = await talk.request()
        await talk.say(answer.format(target=request.line.split()[1]).encode())

    async def scenario():
        async with Receiver(script) as receiver:
            return await send(a_route(receiver.url + "?token=0123456789"))

    result = run(scenario())
    assert "0123456789" not in result.text + result.peer
    assert result.text


# Forbidden addresses

SPELLINGS_OF_THIS_MACHINE = [
    "127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "2130706433", "0x7f000001", "0x7f.1",
    "127.1", "0177.0.0.1", "0", "127.0.0.1.", "LOCALHOST.", "①②⑦.⓪.⓪.①",
]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS_OF_THIS_MACHINE)
def test_no_spelling_of_a_local_address_leads_to_a_connection(host):
    async def scenario():
        async with Receiver(answering()) as receiver:
            return await send(a_route(f"http://{host}:{receiver.port}/", allow_private=False)), receiver

    result, receiver = run(scenario())
    assert receiver.connections == 0
    assert result.stage is Stage.CONNECT
    assert result.trouble in {Trouble.FORBIDDEN, Trouble.NO_SUCH_HOST, Trouble.DNS_FAILED, Trouble.FAILED}
    if host in {"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"}:
        assert result.trouble is Trouble.FORBIDDEN
        assert result.text == "The host has a private address, and the route does not allow private addresses"


@pytest.mark.parametrize(
    ("url", "certified"),
    [
        ("http://my_service:{}/hook", None),
        ("http://hook.example.:{}/", None),
        ("https://hook.example.:{}/", "hook.example"),
    ],
)
def test_a_host_name_may_contain_an_underscore_or_end_in_a_dot(url, certified):
    async def scenario():
        async with Receiver(answering(), authority().issue(certified) if certified else None) as receiver:
            return await send(a_route(url.format(receiver.port)), resolver=Names("127.0.0.1"))

    assert run(scenario()).code == 200


def test_the_check_applies_to_the_address_of_the_connection():
    """A host name that resolves differently each time cannot bypass the check between the lookup and the
    connection.
    """

    async def scenario():
        names = Names(["192.0.2.1"], ["127.0.0.1"], ["127.0.0.1"])
        async with Receiver(answering()) as receiver:
            route = a_route(f"http://hook.example:{receiver.port}/", allow_private=False)
            return await send(route, resolver=names, times=2), receiver

    result, receiver = run(scenario())
    assert result.trouble is Trouble.FORBIDDEN
    assert receiver.connections == 0


def test_a_connection_to_a_private_address_is_not_used_by_a_route_that_forbids_it():
    async def scenario():
        async with Receiver(answering()) as receiver:
            transport = WebhookTransport()
            allowed = await transport.attempt(a_parcel(), a_route(receiver.url))
            forbidden = await transport.attempt(a_parcel(), a_route(receiver.url, allow_private=False))
            await transport.close()
            return allowed, forbidden, receiver

    allowed, forbidden, receiver = run(scenario())
    assert (allowed.code, forbidden.trouble) == (200, Trouble.FORBIDDEN)
    assert len(receiver.requests) == 1


# All outcomes: the stage that was reached, the error or the status, and the decision that follows


def at_webhook(script, parcel=None, **options):
    return lambda: to(script, parcel, **options)


def by_name(error):
    return lambda: send(a_route("http://hook.example/"), resolver=Names(error=error))


def forbidden():
    return send(a_route("http://127.0.0.1:9/", allow_private=False))


async def refused():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    return await send(a_route(f"http://127.0.0.1:{port}/"))


async def never_accepted():
    """Connect to a socket whose backlog is full, so that the TCP handshake is not answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        try:
            return await send(a_route(f"http://127.0.0.1:{full.getsockname()[1]}/"), timeouts=NO_CONNECTION)
        finally:
            for one in waiting:
                one.close()


async def never_greeted():
    """Connect to a server that accepts the connection but does not begin the TLS handshake."""
    async with Receiver(hanging) as receiver:
        return await send(a_route(receiver.url.replace("http:", "https:")), timeouts=NO_CONNECTION)


async def without_tls():
    async with Receiver(saying(b"")) as receiver:
        receiver.script = answering_without_tls
        return await send(a_route(receiver.url.replace("http:", "https:")))


async def answering_without_tls(talk):
    await talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await talk.reader.read()


async def at_another_name():
    async with Receiver(answering(), authority().issue()) as receiver:
        route = a_route(f"https://hook.example:{receiver.port}/")
        return await send(route, resolver=Names(["127.0.0.1"]))


def unreadable():
    parcel = a_parcel()
    calls = iter([0, 1])

    async def octets():
        yield OCTETS
        if next(calls):
            raise RuntimeError("the store is gone")

    force_setattr(parcel, "octets", octets)
    return to(answering(), parcel)


OF_DESTINATION, OF_DELIVERY = True, False
AGAIN, DONE, NEVER = Then.RETRY, Then.DELIVERED, Then.GIVE_UP

TROUBLES = {
    "connection refused": (refused, Stage.CONNECT, Trouble.UNREACHABLE, AGAIN, OF_DESTINATION),
    "no reply to the connection request": (never_accepted, Stage.CONNECT, Trouble.TIMEOUT, AGAIN, OF_DESTINATION),
    "private address": (forbidden, Stage.CONNECT, Trouble.FORBIDDEN, AGAIN, OF_DESTINATION),
    "name not found": (
        by_name(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
        Stage.CONNECT, Trouble.NO_SUCH_HOST, AGAIN, OF_DESTINATION,
    ),
    "the DNS fails": (
        by_name(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
        Stage.CONNECT, Trouble.DNS_FAILED, AGAIN, OF_DESTINATION,
    ),
    "no TLS on the port": (without_tls, Stage.TLS, Trouble.BAD_TLS, AGAIN, OF_DESTINATION),
    "silence instead of TLS": (never_greeted, Stage.CONNECT, Trouble.TIMEOUT, AGAIN, OF_DESTINATION),
    "certificate for another name": (at_another_name, Stage.TLS, Trouble.BAD_TLS, AGAIN, OF_DESTINATION),
    "certificate of an unknown authority": (
        lambda: to(answering(), certificate=Authority("an unknown authority").issue()),
        Stage.TLS, Trouble.BAD_TLS, AGAIN, OF_DESTINATION,
    ),
    "disconnected immediately": (
        at_webhook(leaving_at_once, LARGE), Stage.BODY, Trouble.DISCONNECTED, AGAIN, OF_DESTINATION),
    "disconnected inside the body": (
        at_webhook(leaving_amid_the_body, LARGE), Stage.BODY, Trouble.DISCONNECTED, AGAIN, OF_DESTINATION),
    "body not read": (
        at_webhook(not_reading, LARGE, timeouts=NOT_TAKEN),
        Stage.BODY, Trouble.TIMEOUT, AGAIN, OF_DESTINATION,
    ),
    "the stored message is unreadable": (unreadable, Stage.BODY, Trouble.FAILED, AGAIN, OF_DELIVERY),
    "the stored message is too short": (
        at_webhook(answering(), a_parcel(b"short", size=6)), Stage.CONNECT, Trouble.FAILED, AGAIN, OF_DELIVERY),
    "disconnected after the body": (
        at_webhook(leaving_after_the_body), Stage.END, Trouble.DISCONNECTED, AGAIN, OF_DESTINATION),
    "no response": (
        at_webhook(hanging, timeouts=NO_ANSWER), Stage.END, Trouble.TIMEOUT, AGAIN, OF_DESTINATION),
    "garbage": (at_webhook(saying(b"220 mail.example ESMTP\r\n")), Stage.END, Trouble.GARBAGE, AGAIN, OF_DESTINATION),
    "an invalid length": (
        at_webhook(saying(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n")),
        Stage.END, Trouble.GARBAGE, AGAIN, OF_DESTINATION,
    ),
    "an incomplete header": (
        at_webhook(saying(b"HTTP/1.1 200 OK\r\nContent-")), Stage.END, Trouble.DISCONNECTED, AGAIN, OF_DESTINATION),
    "an endless header": (
        at_webhook(saying_without_end(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 4000 + b"\r\n")),
        Stage.END, Trouble.DISCONNECTED, AGAIN, OF_DESTINATION,
    ),
    "an endless line": (
        at_webhook(saying_without_end(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096)),
        Stage.END, Trouble.DISCONNECTED, AGAIN, OF_DESTINATION,
    ),
    "endless interim responses": (
        at_webhook(saying_without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)),
        Stage.END, Trouble.DISCONNECTED, AGAIN, OF_DESTINATION,
    ),
}  # fmt: skip

ANSWERS = {
    **dict.fromkeys((200, 201, 202, 204), (DONE, OF_DELIVERY)),
    **dict.fromkeys((301, 302, 307, 308), (AGAIN, OF_DELIVERY)),
    **dict.fromkeys((400, 401, 403, 404, 408, 409), (AGAIN, OF_DELIVERY)),
    **dict.fromkeys((410, 413, 415, 422), (NEVER, OF_DELIVERY)),
    **dict.fromkeys((429, 502, 503, 504), (AGAIN, OF_DESTINATION)),
    **dict.fromkeys((500, 599, 999), (AGAIN, OF_DELIVERY)),
}


@pytest.mark.parametrize(("case", "stage", "trouble", "then", "is_of_destination"), TROUBLES.values(), ids=TROUBLES)
def test_each_failure_has_its_stage_trouble_and_decision(case, stage, trouble, then, is_of_destination):
    result = run(case())
    result = result[0] if isinstance(result, tuple) else result
    assert (result.stage, result.code) == (stage, None)
    assert result.trouble is trouble or (trouble is None and result.trouble in {Trouble.GARBAGE, Trouble.TIMEOUT})
    assert "\n" not in result.text
    assert len(result.text) <= 200
    assert decided(result) == (then, is_of_destination)


@pytest.mark.parametrize(("code", "expected"), ANSWERS.items())
def test_each_status_leads_to_its_decision(code, expected):
    location = "Location: http://127.0.0.1:9/elsewhere"
    result, receiver = run(to(answering(f"{code} Words", b"" if code == 204 else b"because\r\n", location)))
    assert (result.stage, result.code, result.trouble) == (Stage.END, code, None)
    assert result.text == ("Words" if code == 204 else "Words: because")
    assert decided(result) == expected
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(("code", "then"), [(413, NEVER), (503, AGAIN), (401, AGAIN), (200, AGAIN)])
def test_a_status_before_the_end_of_the_body_counts_but_a_success_is_retried(code, then):
    result, _ = run(to(answering_amid_the_body(f"{code} Words"), LARGE))
    assert (result.stage, result.code, result.trouble) == (Stage.BODY, code, None)
    assert decided(result)[0] is then


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        (saying_without_end(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nfirst\n", b"more" * 1000), PATIENCE),
        (saying_without_end(b"HTTP/1.1 200 OK\r\n\r\nfirst\n", b"more" * 1000), PATIENCE),
        (
            saying_without_end(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n", b"4\r\nmore\r\n"
            ),
            PATIENCE,
        ),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst\n"), PATIENCE),
        pytest.param(
            saying_then_hanging(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst\n"), 2, marks=pytest.mark.slow
        ),
    ],
    ids=["an excessive length", "no length", "chunks", "cut off", "hanging"],
)  # fmt: skip
def test_a_status_counts_even_if_the_body_is_incomplete_or_too_long(script, seconds):
    result, _ = run(to(script, timeouts=Timeouts(answer=seconds)))
    assert (result.stage, result.code, result.text) == (Stage.END, 200, "OK: first")
    assert decided(result)[0] is DONE


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
AFTER_THE_STATUS = {
    "a body just above the limit": OK + b"Content-Length: 70000\r\n\r\n" + b"z" * 70_000,
    "a body far above the limit": OK + b"Content-Length: 300000\r\n\r\n" + b"z" * 300_000,
    "a body without length": OK + b"\r\n" + b"z" * 300_000,
    "a large body in one chunk": CHUNKED + b"493e0\r\n" + b"z" * 300_000 + b"\r\n0\r\n\r\n",
    "a chunk without size": CHUNKED + b"nonsense\r\n",
    "a bad trailer": CHUNKED + b"2\r\nok\r\n0\r\nbad trailer\r\n\r\n",
    "bytes after the body": OK + b"Content-Length: 2\r\n\r\nokand more",
    "a second response": OK + b"Content-Length: 0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    "lines that end in LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nokand more",
    "a preceding interim response": b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"nonsense\r\n",
    "a long field": OK + b"X: " + b"y" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "many fields": OK + b"X: y\r\n" * 1_000 + b"Content-Length: 0\r\n\r\n",
}


def saying_at_once(octets, *, step=0):
    """Return a script that reads the request, sends these bytes in one write or in steps of this size, and resets the
    connection.
    """

    async def script(talk):
        await talk.request()
        for start in range(0, len(octets), step or len(octets)):
            await talk.say(octets[start : start + (step or len(octets))])
        reset(talk.writer)

    return script


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("octets", AFTER_THE_STATUS.values(), ids=AFTER_THE_STATUS)
def test_a_success_remains_a_success_even_if_the_rest_of_the_response_is_invalid(octets, is_tls, loop):
    certificate = authority().issue() if is_tls else None
    result, _ = run(to(saying_at_once(octets), certificate=certificate, timeouts=NOT_REACHED), loop)
    assert (result.stage, result.code, result.trouble) == (Stage.END, 200, None)
    assert decided(result)[0] is DONE


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("name", ["a bad trailer", "lines that end in LF", "a preceding interim response"])
def test_the_end_of_the_headers_is_found_even_if_it_is_split(name, step):
    result, _ = run(to(saying_at_once(AFTER_THE_STATUS[name], step=step), timeouts=NOT_REACHED))
    assert (result.stage, result.code) == (Stage.END, 200)


def test_a_large_response_is_not_read_to_its_end():
    sent = 0

    async def script(talk):
        nonlocal sent
        await talk.request()
        await talk.say(OK + b"Content-Length: 1000000000\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                await talk.say(b"z" * 65_536)
                sent += 65_536

    result, _ = run(to(script))
    assert (result.stage, result.code) == (Stage.END, 200)
    assert sent < 16 * 1024 * 1024, "more bytes were read than the buffers of two sockets can hold"


def test_the_text_of_a_response_becomes_one_short_printable_line():
    result, _ = run(to(answering("500 Oh\tno", b"\xff\x1b[31m \xe2\x80\xae" + b"x" * 1000)))
    assert result.text.startswith("Oh no: ??[31m ?xxx".replace("?", "\N{REPLACEMENT CHARACTER}"))
    assert len(result.text) == 200


def test_a_cancelled_attempt_leaves_no_connection():
    has_come, has_gone = asyncio.Event(), asyncio.Event()

    async def waiting(talk):
        await talk.request()
        has_come.set()
        assert await talk.reader.read() == b""
        has_gone.set()

    async def scenario():
        async with Receiver(waiting) as receiver:
            transport = WebhookTransport()
            task = asyncio.create_task(transport.attempt(a_parcel(), a_route(receiver.url)))
            await has_come.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await has_gone.wait()
            await transport.close()

    run(scenario())


def test_simultaneous_attempts_do_not_wait_for_each_other():
    all_there, number = asyncio.Event(), 120

    async def waiting(talk):
        await talk.request()
        if len(talk.receiver.requests) == number:
            all_there.set()
        await all_there.wait()
        await talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def scenario():
        async with Receiver(waiting) as receiver:
            transport = WebhookTransport()
            attempts = (transport.attempt(a_parcel(number=each), a_route(receiver.url)) for each in range(number))
            results = await asyncio.gather(*attempts)
            await transport.close()
            return Counter(result.code for result in results), receiver

    codes, receiver = run(scenario())
    assert codes == {200: number}
    assert len({request.headers["Idempotency-Key"] for request in receiver.requests}) == number


def test_by_default_the_system_s_certificate_authorities_are_trusted():
    result, _ = run(to(answering(), certificate=authority().issue(), tls=None))
    assert (result.stage, result.trouble) == (Stage.TLS, Trouble.BAD_TLS)
