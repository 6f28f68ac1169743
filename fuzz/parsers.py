"""Fuzzes one parser of input from untrusted clients: `fuzz/parsers.py NAME`, followed by libFuzzer's options.

Each parser gets bytes that a client may send. It may fail only with its documented errors. Its result must be harmless:
without control characters or additional lines, and within its limits.
"""

import base64
import contextlib
import email.utils
import json
import re

from engine import Target, fuzz_one_of, instrumented

with instrumented():
    from tests.kit import smtp_dialogues
    from waypost.api.access import canonical, sigv4
    from waypost.api.errors import ApiError
    from waypost.api.operations import page_tokens
    from waypost.api.wire import bodies, protocol, shapes
    from waypost.api.wire.http import OCTETS, Request
    from waypost.domain import errors
    from waypost.domain.dsn import reports
    from waypost.domain.mail import encoded_words, messages
    from waypost.domain.mailauth import from_header, srs, verdicts
    from waypost.domain.mailauth.from_header import Naming
    from waypost.mailauth import message
    from waypost.observe.spans import contexts
    from waypost.smtp.protocol.replies import OK
    from waypost.smtp.protocol.requests import MessageReceived, PieceReceived

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
DOMAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_-])?")
HOP = re.compile(r"[\w.:\[\]?-]{1,255}", re.ASCII)
TOKENS = page_tokens.PageTokens(b"k" * 32)
PROTOCOL = protocol.Protocol(shapes.load())
OPERATIONS = sorted(shapes.load().operations)


def check_from(octets: bytes) -> None:
    """Check that From gives a limited number of valid domains, which include the domain that Python's parser finds."""
    value = octets.decode("utf-8", "replace")
    found = from_header.read([value])
    assert len(found.domains) <= from_header.MAX_NAMED
    assert all(DOMAIN.fullmatch(domain) for domain in found.domains)
    assert (found.naming is Naming.NONE) <= (not found.domains)
    assert (found.naming is Naming.ONE) <= (len(found.domains) == 1)
    local, _, domain = email.utils.parseaddr(value)[1].lower().rstrip(".").rpartition("@")
    if local and len(domain) < 254 and re.fullmatch(r"(?:[a-z0-9]{1,63}\.)+[a-z]{2,63}", domain):
        assert found.naming is Naming.TOO_MANY or domain in found.domains, (domain, found)
    header = message.split([b"From: " + octets.replace(b"\r\n\r\n", b"\r\n") + b"\r\n\r\n"])
    assert message.author_domains(header).naming in set(Naming)


def check_subject(octets: bytes) -> None:
    """Check that a decoded subject is one line of limited length."""
    facts = messages.read_header(b"Subject: " + octets + b"\r\n\r\n")
    assert len(facts.subject) <= messages.SUBJECT_LIMIT
    assert not CONTROL.search(facts.subject)
    facts.subject.encode()
    encoded_words.decode(octets)


def check_message_id(octets: bytes) -> None:
    """Check that a Message-ID is one line of limited length, alone and in a header."""
    found = messages.read_header_id(octets.decode("utf-8", "replace"))
    assert len(found) <= messages.HEADER_ID_LIMIT
    assert not CONTROL.search(found)
    found.encode()
    facts = messages.read_header(b"Message-ID: " + octets + b"\r\n\r\n")
    assert not CONTROL.search(facts.header_id)
    facts.header_id.encode()


def check_report(octets: bytes) -> None:
    """Check that the parts of a report are single lines, and that its action and status are valid."""
    report = reports.read_report(octets)
    if report:
        said = (report.final_recipient, report.action, report.status, report.diagnostic)
        assert not any(CONTROL.search(text) or "\n" in text for text in said)
        assert report.action in {"", "failed", "delayed", "delivered", "relayed", "expanded"}
        assert not report.status or re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", report.status)
    assert reports.is_report(octets) in {True, False}
    hops = reports.hops(octets)
    assert len(hops) <= messages.MAX_RECEIVED_LINES + 1
    assert all(HOP.fullmatch(hop) for hop in hops)


def check_results(octets: bytes) -> None:
    """Check that a field with Waypost's own name is never believed, in any spelling, and counts as forged."""
    name = "mx.example"
    believed = verdicts.trusted_results(octets, name)
    forged = verdicts.count_forged(octets, name)
    assert len(believed) + forged <= verdicts.MAX_FOREIGN
    for value in believed:
        assert not re.match(r"mx\.example\.?(?:[ ;]|\Z)", value, re.IGNORECASE)
        assert "\n" not in value


def check_bdat(octets: bytes) -> None:
    """Check that a message in chunks of any size, with any splits, is stored unchanged or refused."""
    sizes = [octet % 20 for octet in octets[:6]] or [1]
    text = octets[6:300]
    wire, at, turn = b"EHLO a.example\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<a@mail.example>\r\n", 0, 0
    while at < len(text):
        chunk = text[at : at + sizes[turn % len(sizes)]]
        wire += b"BDAT %d\r\n%b" % (len(chunk), chunk)
        at, turn = at + len(chunk), turn + 1
        if turn > 50 or not any(sizes):
            wire, at = wire + b"BDAT %d\r\n%b" % (len(text) - at, text[at:]), len(text)
    wire += b"BDAT 0 LAST\r\nNOOP\r\n"
    outcomes = [_in_chunks(wire, step) for step in (len(wire), 1 if len(wire) < 400 else 9, 41)]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    raw, output = outcomes[0]
    assert raw in (text, None)
    assert output.rstrip().rpartition(b"\r\n")[2] == b"250 2.0.0 OK" or raw is None


def _in_chunks(wire: bytes, step: int) -> tuple[bytes | None, bytes]:
    session, kept, raw = smtp_dialogues.a_session(piece=100, message_limit=1_000, command_limit=10_000), b"", None
    output = session.output()
    for start in range(0, len(wire), step):
        session.receive(wire[start : start + step])
        while (question := session.next_request()) or session.has_more:
            if isinstance(question, PieceReceived):
                kept = kept[: question.start] + question.octets
            elif isinstance(question, MessageReceived):
                raw = kept[: question.start] + question.raw
            if question:
                session.answer(OK)
        output += session.output()
    return raw, output


def check_canonical(octets: bytes) -> None:
    """Check that a canonical query is stable, and that a signature is parsed or refused with an API error."""
    path, query, headers, body = (octets.split(b"\n", 3) + [b""] * 3)[:4]
    pairs = [line.partition(b":") for line in headers.split(b"\r")]
    request = Request(
        method="POST",
        raw_path="/" + path.decode(*OCTETS),
        query=query.decode(*OCTETS),
        headers=tuple((name.decode("latin-1").lower(), value.strip().decode(*OCTETS)) for name, _, value in pairs),
        body=body,
    )
    names = tuple(dict.fromkeys(name for name, _ in request.headers))
    canonical_request = canonical.canonical_request(request, names)
    again = canonical._canonical_query(request.query)
    assert canonical._canonical_query(again) == again
    assert again.isascii()
    assert canonical_request.startswith(b"POST\n/")
    for read in (lambda: sigv4.claim(request, service="connect"), lambda: PROTOCOL.route(request)):
        try:
            read()
        except ApiError as error:
            protocol.serialise_error(error, modelled=False)


def check_json(octets: bytes) -> None:
    """Check that a JSON body and the members of a call are parsed correctly, or refused with an API error."""
    operation = OPERATIONS[octets[0] % len(OPERATIONS)] if octets else OPERATIONS[0]
    body = octets[1:]
    try:
        value = bodies.value(body)
    except ApiError as error:
        protocol.serialise_error(error, modelled=False)
    else:
        assert type(json.loads(body)) is type(value) or isinstance(value, int | float)
    request = Request("POST", "/", "", (("x-amz-target", f"AmazonConnectService.{operation}"),), body)
    try:
        PROTOCOL.parse(PROTOCOL.route(request), request)
    except ApiError as error:
        protocol.serialise_error(error, modelled=False)


def check_addresses(octets: bytes) -> None:
    """Check that rewritten senders, DMARC records and page tokens are parsed, or refused with documented errors."""
    text = octets.decode("utf-8", "replace")
    srs.claims(text[:64])
    record = verdicts.parse_record("a.example", [text])
    assert record is None or record.policy in {"", "none", "quarantine", "reject"}
    with contextlib.suppress(errors.Invalid):
        assert TOKENS.read(text, query=b"q") is not None


def check_traceparent(octets: bytes) -> None:
    """Check that a context has valid ids, and is the same after it was written."""
    context = contexts.read(octets.decode("utf-8", "replace"))
    if context:
        assert int(context.trace_id, 16)
        assert int(context.span_id, 16)
        assert contexts.read(context.traceparent) == context


TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ADDRESSES = [b"@", b"<", b">", b",", b";", b":", b'"', b"\\", b"(", b")", b"\r\n ", b"\t", b".", b"=?utf-8?q?", b"?="]
REPORT = (
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Reporting-MTA: dns; a\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    b"Diagnostic-Code: smtp; 550 (no) =\r\n such user\r\n--b--\r\n"
)
AUTHORIZATION = (
    b"authorization:AWS4-HMAC-SHA256 Credential=K/20261122/us-east-1/connect/aws4_request, "
    b"SignedHeaders=host;x-amz-date, Signature=ab\rhost:a\rx-amz-date:20261122T120000Z"
)
PRESIGNED = (
    b"instance\nX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=K%2F20261122%2Fus-east-1%2Fconnect%2Faws4_request"
    b"&X-Amz-Date=20261122T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=ab\nhost:a\n"
)

TARGETS = {
    "from": Target(
        check_from,
        [b"Ann <a@b.example>", b'"a@b.example" <c@d.example>', b"=?utf-8?b?YUBiLmV4YW1wbGU=?=", b"g: a@b.example;"],
        [*ADDRESSES, "\uff20".encode(), "\u00ad".encode(), b"a@b.example", b"=?utf-8?b?"],
    ),
    "subject": Target(
        check_subject,
        [b"Hello", b"=?utf-8?q?=C3=BC?= =?iso-2022-jp?b?GyRCNEEbKEI=?=", b"=?euc-jp?q?=AD=A1?=\r\n a"],
        [b"=?", b"?=", b"?q?", b"?b?", b"utf-8", b"iso-2022-jp", b"gb18030", b"hz", b"utf-7", b"*de", b"\r\n ", b"=0A"],
    ),
    "message-id": Target(
        check_message_id,
        [b"<a@b.example>", b"(c) a b <c> <d>", b"\r\n <a>"],
        [b"<", b">", b"(", b")", b"\r\n ", b"\xff"],
    ),
    "report": Target(
        check_report,
        [REPORT, REPORT.replace(b"quoted-printable", b"base64"), b"Received: from a (b (c)) by d; e\r\n" * 3],
        [
            b"\r\n\r\n",
            b"--b",
            b"--b--",
            b"boundary=",
            b"Content-Type: ",
            b"multipart/mixed;",
            b"message/rfc822",
            b"by ",
            b"report-type=delivery-status",
            b"Action: ",
            b"Status: ",
            b"Final-Recipient: ",
            b"Received: ",
            b"(",
            b")",
        ],
    ),
    "results": Target(
        check_results,
        [
            b"Authentication-Results: mx.example; spf=pass\r\n",
            b'Authentication-Results: (a)"mx.\\example"\r\n 1;none\r\n',
        ],
        [b"Authentication-Results:", b"mx.example", b";", b"(", b")", b'"', b"\\", b"\r\n ", b"\n"],
    ),
    "bdat": Target(
        check_bdat,
        [b"\1\2\3\0\5\6Subject: a\r\n\r\nHello\r\n", b"\5" * 6 + b"a: b\r\n" * 40, b"\3" * 6 + b"\r\n\n\0\r" * 30],
        [b"\r\n", b"\r\n\r\n", b".\r\n", b"BDAT 0 LAST\r\n", b"\0", b"a: b"],
    ),
    "canonical": Target(
        check_canonical,
        [
            b"a/../b\nX=1&A=%2f\n" + AUTHORIZATION + b"\n{}",
            PRESIGNED,
        ],
        [
            b"%2F",
            b"%",
            b"&",
            b"=",
            b"/../",
            b"//",
            b"/.",
            b"\n",
            b"X-Amz-Signature=",
            b"Signature=",
            b";",
            b"  ",
            b"\xff",
        ],
    ),
    "json": Target(
        check_json,
        [
            bytes([number]) + b'{"InstanceId":"11111111-1111-4111-8111-111111111111"}'
            for number in range(len(OPERATIONS))
        ]
        + [b'\0{"EmailAddress":"a@b.example","Tags":{"a":"b"},"SearchCriteria":{"OrConditions":[{}]}}'],
        [
            b"[",
            b"]",
            b"{",
            b"}",
            b'"',
            b"\\u0000",
            b"\\ud800",
            b"1e999",
            b"-0",
            b"null",
            b"NaN",
            b'"Tags":',
            b'"ClientToken":',
        ],
    ),
    "traceparent": Target(
        check_traceparent,
        [TRACEPARENT, b"cc" + TRACEPARENT[2:] + b"-more", TRACEPARENT[:-2] + b"00"],
        [b"00-", b"ff-", b"-01", b"-", b"0" * 32, b"0" * 16],
    ),
    "addresses": Target(
        check_addresses,
        [
            b"srs0=aaaaaaaaaaaaaaaaaaaa=aa=b.example=a",
            b"v=DMARC1; p=reject; sp=none; rua=mailto:a@b.example",
            base64.urlsafe_b64encode(b"w" * 40),
        ],
        [b"srs0=", b"srs1=", b"waypost-bounce=", b"=", b"v=DMARC1", b";", b"p=", b"rua=", b"pct=0"],
    ),
}
"""The targets, by the name of the parser."""


if __name__ == "__main__":
    fuzz_one_of(TARGETS)
