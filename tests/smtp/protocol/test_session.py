"""Tests that the SMTP session gives the replies and makes the requests of the dialogues, however its input is split."""

import tracemalloc
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.kit import invariants, smtp_dialogues
from tests.kit.examples import examples
from waypost.domain.mail.messages import RecipientDsn
from waypost.smtp.protocol import grammar, replies
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.protocol.command_lines import LINES_KNOWN
from waypost.smtp.protocol.requests import ContentOffered, MessageReceived, PieceReceived, SenderGiven, TlsWanted
from waypost.smtp.protocol.session import COMMANDS_A_TURN

DIALOGUES = {path.stem: smtp_dialogues.read(path) for path in sorted(Path(__file__).parent.glob("dialogues/*.smtp"))}

every_dialogue = pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=DIALOGUES.keys())

SPLITTABLE = {name: dialogue for name, dialogue in DIALOGUES.items() if "tls" not in dialogue.events}
"""All dialogues without a TLS handshake, whose input can be split anywhere.

Input before a handshake is discarded, and input after it is not, so such dialogues cannot be split anywhere."""

every_splittable = pytest.mark.parametrize("dialogue", SPLITTABLE.values(), ids=SPLITTABLE.keys())

all_words = [
    *invariants.COMMANDS,
    *invariants.TEXT,
    *invariants.TRICKS,
    *invariants.LETTERS,
]
words = st.sampled_from(all_words) | st.binary(max_size=12)
anything = st.lists(words, max_size=20).map(b"".join)

good_text = st.lists(st.sampled_from(invariants.TEXT), max_size=6).map(b"".join)
texts = good_text | st.tuples(good_text, st.sampled_from(invariants.TRICKS), good_text).map(b"".join)
after_data = texts.map(lambda text: [b"DATA\r\n", text, b".\r\n"])
in_chunks = st.lists(texts, min_size=1, max_size=3).map(
    lambda parts: [invariants.a_chunk(part, is_last=number == len(parts)) for number, part in enumerate(parts, 1)]
)
transactions = st.tuples(
    st.sampled_from(invariants.MAILS),
    st.lists(st.sampled_from(invariants.RECIPIENTS), max_size=3).map(lambda more: [invariants.RECIPIENTS[0], *more]),
    after_data | in_chunks,
).map(lambda parts: [parts[0], *parts[1], *parts[2]])


@st.composite
def conversations(draw):
    """Draw the input of a correct client, with a few lines removed, replaced or added."""
    lines = [draw(st.sampled_from(invariants.GREETINGS[:2]))]
    for transaction in draw(st.lists(transactions, min_size=1, max_size=3)):
        lines += transaction
    for place, is_gone, word in draw(st.lists(st.tuples(st.integers(1, 20), st.booleans(), words), max_size=2)):
        lines[place : place + is_gone] = [word]
    return b"".join(lines)


invisible = st.text(max_size=30).map(lambda text: f"<{text}@{text[::-1]}>\r\n".encode(errors="replace"))
odd_paths = st.tuples(invisible, invisible).map(
    lambda paths: b"EHLO c\r\nMAIL FROM:%b RSET\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:%b" % paths
)


def mostly(usual, *others):
    return st.sampled_from([usual] * 5 + [*others])


offers = st.builds(
    Capabilities,
    hostname=st.just("mail.example"),
    lmtp=st.booleans(),
    offers_tls=st.booleans(),
    message_limit=mostly(10_000, 200, 0),
    recipient_limit=mostly(100, 2),
    mail_limit=mostly(100, 2),
    command_limit=mostly(1_000, 15),
    error_limit=mostly(1_000, 3),
    unknown_recipient_limit=mostly(1_000, 2),
    piece=st.sampled_from([10_000, 100, 40, 20]),
)
ways = st.builds(
    invariants.Behaviour, makes_handshakes=st.booleans(), has_limits=st.booleans(), injects_faults=st.booleans()
)


def a_session():
    return smtp_dialogues.a_session(message_limit=200, recipient_limit=3, piece=40, error_limit=8)


@every_dialogue
def test_dialogues_turn_by_turn(dialogue):
    session, system = dialogue.session(), smtp_dialogues.System()
    for number, turn in enumerate(dialogue.turns, 1):
        session.receive(turn.sent)
        answer, events = system.serve(session), list(system.events)
        system.events.clear()
        assert events == turn.events, f"turn {number}"
        assert smtp_dialogues.matches_replies(answer, turn.replies), f"turn {number}: {answer}"


@every_splittable
def test_dialogues_with_all_input_in_one_piece(dialogue):
    events, answer = smtp_dialogues.play(dialogue.session(), [dialogue.sent])
    assert events == dialogue.events
    assert smtp_dialogues.matches_replies(answer, dialogue.replies), answer


@every_splittable
def test_dialogues_byte_by_byte(dialogue):
    size = 1 + len(dialogue.sent) // 20_000  # long inputs are sent in slightly larger pieces
    events, answer = smtp_dialogues.play(
        dialogue.session(), [dialogue.sent[i : i + size] for i in range(0, len(dialogue.sent), size)]
    )
    assert events == dialogue.events
    assert smtp_dialogues.matches_replies(answer, dialogue.replies), answer
    assert (events, answer) == smtp_dialogues.play(dialogue.session(), [dialogue.sent])


@every_splittable
@settings(max_examples=examples(20), deadline=None)
@given(places=st.sets(st.floats(0, 1), max_size=20))
def test_dialogues_split_at_random_places(dialogue, places):
    pieces = smtp_dialogues.cut(dialogue.sent, {int(place * len(dialogue.sent)) for place in places})
    events, answer = smtp_dialogues.play(dialogue.session(), pieces)
    assert events == dialogue.events
    assert smtp_dialogues.matches_replies(answer, dialogue.replies), answer


@settings(max_examples=examples(150), deadline=None)
@given(
    capabilities=offers, octets=conversations() | anything | odd_paths, sizes=st.lists(st.integers(1, 200)), way=ways
)
def test_the_invariants_hold_for_any_input_and_any_split(capabilities, octets, sizes, way):
    if capabilities.lmtp:
        octets = octets.replace(b"EHLO", b"LHLO").replace(b"HELO", b"LHLO")
    invariants.check(capabilities, octets, sizes, way)


tokens = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters="-_!"), min_size=1, max_size=20)
targets = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=600)
requests = st.tuples(tokens, targets, st.sampled_from(["1.0", "1.1", "2", "3"])).map(
    lambda parts: f"{parts[0]} {parts[1]} HTTP/{parts[2]}\r\n".encode()
)
header_fields = st.tuples(tokens, targets).map(lambda parts: f"{parts[0]}: {parts[1]}\r\n".encode())
foreign = st.sampled_from(invariants.FOREIGN) | requests | header_fields
BEFORE = [*accumulate([b"", invariants.GREETINGS[0], invariants.MAILS[0], invariants.RECIPIENTS[0]])]


@settings(max_examples=examples(150), deadline=None)
@given(
    before=st.sampled_from(BEFORE), line=foreign, after=conversations() | anything, sizes=st.sets(st.integers(1, 3_000))
)
def test_no_mail_is_accepted_after_a_line_of_another_protocol(before, line, after, sizes):
    session, system = smtp_dialogues.a_session(), smtp_dialogues.System()
    session.receive(before)
    system.serve(session)
    events = list(system.events)
    output = b""
    for piece in smtp_dialogues.cut(line + after, sizes):
        session.receive(piece)
        output += system.serve(session)
    assert output == bytes(replies.NOT_SMTP)
    assert system.events == [*events, "closed"]


GOOD_BEFORE_EHLO = {b"EHLO", b"HELO", b"LHLO", b"NOOP", b"RSET", b"VRFY", b"HELP", b"QUIT"}
bad_lines = (
    st.binary(max_size=1_200) | st.sampled_from([*invariants.MAILS, *invariants.RECIPIENTS, b"DATA", b"RSET x"])
).map(lambda octets: octets.translate(None, b"\r\n") + b"\r\n")


@settings(max_examples=examples(150), deadline=None)
@given(line=bad_lines, after=conversations() | anything, sizes=st.sets(st.integers(1, 3_000)))
def test_no_mail_is_accepted_after_an_error_before_ehlo(line, after, sizes):
    assume(line == b"RSET x\r\n" or line.rstrip(b"\r\n ").partition(b" ")[0].upper() not in GOOD_BEFORE_EHLO)
    events, output = smtp_dialogues.play(smtp_dialogues.a_session(), smtp_dialogues.cut(line + after, sizes))
    assert events == ["closed"]
    assert output.count(b"\r\n") == 2  # the greeting, and one reply


@pytest.mark.parametrize("name", [name for name in DIALOGUES if name.startswith(("http", "tls_hello", "error_before"))])
def test_a_request_of_another_protocol_is_refused_at_every_split(name):
    dialogue = DIALOGUES[name]
    for place in range(len(dialogue.sent)):
        events, answer = smtp_dialogues.play(dialogue.session(), smtp_dialogues.cut(dialogue.sent, {place}))
        assert (events, smtp_dialogues.matches_replies(answer, dialogue.replies)) == (dialogue.events, True), place


def test_a_message_that_cannot_be_stored_and_is_too_big_is_refused_for_either_reason_at_every_split():
    octets = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nDATA\r\n%b\r\n.\r\n" % (
        b"X-Full: yes\r\n\r\n" + b"x" * 300
    )
    capabilities = Capabilities(hostname="mail.example", message_limit=200, piece=40)
    invariants.check(capabilities, octets, [51, 8], invariants.Behaviour())


def test_a_malformed_header_of_a_binary_message_is_refused_one_chunk_earlier_if_memory_is_scarce():
    chunks = b"BDAT 24\r\nHi\n.\r\n\r\nSubject: hello\r\nBDAT 0 LAST\r\n"
    octets = invariants.GREETINGS[0] + invariants.MAILS[2] + invariants.RECIPIENTS[0] + chunks
    invariants.check(Capabilities(hostname="mail.example"), octets, [1], invariants.Behaviour())


@every_dialogue
def test_the_invariants_hold_for_the_dialogues(dialogue):
    if len(dialogue.sent) < 2_000:
        capabilities = Capabilities(**{"hostname": "mail.example"} | dialogue.options)
        invariants.check(capabilities, dialogue.sent, [7, 30, 1], invariants.Behaviour())
        invariants.check(
            replace(capabilities, piece=40), dialogue.sent, [100], invariants.Behaviour(makes_handshakes=False)
        )


class MayInjectFaults(smtp_dialogues.OpenGate):
    """A gate of a server for tests, which admits every message."""

    injects_faults = True


@every_dialogue
def test_a_server_that_may_inject_faults_and_injects_none_gives_the_same_replies(dialogue):
    usual, testing = dialogue.session(), dialogue.session()
    testing._exchange.gate = testing._gate = MayInjectFaults()
    systems = smtp_dialogues.System(), smtp_dialogues.System()
    for turn in dialogue.turns:
        answers = []
        for session, system in zip((usual, testing), systems, strict=True):
            session.receive(turn.sent)
            answers.append(system.serve(session))
        assert answers[0] == answers[1]
    assert systems[0].events == systems[1].events


def refused_at(kind, *lines):
    """Send lines to a session whose server refuses each request of a kind. Return the replies after EHLO."""
    session, system = smtp_dialogues.a_session(gate=MayInjectFaults()), smtp_dialogues.System()
    system.refused = kind
    session.receive(b"".join(b"%b\r\n" % line for line in (b"EHLO client.example", *lines)))
    return [line for line in system.serve(session).decode().splitlines() if line[3] == " "][1:]


MAIL, RCPT = b"MAIL FROM:<ann@shop.example>", b"RCPT TO:<support@example.com>"


def test_after_a_fault_at_mail_no_message_has_begun():
    assert [line[:3] for line in refused_at(SenderGiven, MAIL, RCPT, b"NOOP")] == ["250", "451", "503", "250"]


def test_after_a_fault_at_data_the_client_may_send_data_again():
    found = refused_at(ContentOffered, MAIL, RCPT, b"DATA", b"DATA", b"NOOP")
    assert [line[:3] for line in found] == ["250", "250", "250", "451", "451", "250"]


def test_after_a_fault_at_the_first_chunk_the_session_reads_the_chunks_and_goes_on():
    found = refused_at(ContentOffered, MAIL, RCPT, b"BDAT 4", b"Hi", b"BDAT 4 LAST", b"Ho", b"NOOP")
    assert [line[:3] for line in found] == ["250", "250", "250", "451", "503", "250"]


@given(octets=anything)
def test_a_closed_session_sends_nothing_and_makes_no_requests(octets):
    session = a_session()
    smtp_dialogues.play(session, [b"QUIT\r\n"])
    assert session.farewell is replies.BYE
    assert smtp_dialogues.play(session, [octets]) == (["closed"], b"")
    assert session.waiting_octets == 0


HANDSHAKE = b"EHLO client.example\r\nSTARTTLS\r\n"
INJECTED = b"EHLO evil.example\r\nMAIL FROM:<a@evil.example>\r\nRCPT TO:<support@example.com>\r\nDATA\r\nHi\r\n.\r\n"


@pytest.mark.parametrize("length", [0, 1, 18, 40, 75, 81, len(INJECTED)])
def test_commands_injected_before_the_handshake_are_discarded(length):
    session, system = smtp_dialogues.a_session(offers_tls=True), smtp_dialogues.System()
    session.receive(HANDSHAKE + INJECTED[:length])
    assert isinstance(session.next_request(), TlsWanted)
    session.receive(INJECTED[length:])  # during the handshake
    output = session.output()
    assert output.endswith(bytes(replies.READY_FOR_TLS))
    assert session.waiting_octets == 0
    session.tls_started("TLSv1.3 X")
    assert system.serve(session) == b""
    session.receive(b"RSET\r\nMAIL FROM:<b@client.example>\r\n")
    said = system.serve(session).decode()
    assert said == "250 2.0.0 OK\r\n503 5.5.1 MAIL is out of order: send EHLO first, and one MAIL at a time\r\n"
    assert system.events == []


def test_starttls_in_the_middle_of_a_message_discards_the_message():
    session, system = smtp_dialogues.a_session(offers_tls=True), smtp_dialogues.System()
    session.receive(b"EHLO c\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<support@example.com>\r\nBDAT 3\r\nHi!STARTTLS\r\n")
    system.serve(session)
    session.receive(b"EHLO c\r\nBDAT 3 LAST\r\nHo!")
    assert system.serve(session).decode().splitlines()[-1].startswith("503 5.5.1 BDAT is out of order")
    assert system.events == ["recipient support@example.com -> 250", "tls"]


class RefusesAll:
    """A gate that refuses every message."""

    injects_faults = False

    def at_mail(self):
        return replies.TOO_MANY_MESSAGES

    def at_data(self):
        return replies.NO_MEMORY

    def knows(self, address):
        return False

    def refused(self, reply):
        pass


class RefusesData(RefusesAll):
    def at_mail(self):
        return None


def test_a_message_that_the_gate_refuses_is_refused_at_mail():
    _, output = smtp_dialogues.play(
        smtp_dialogues.a_session(gate=RefusesAll()), [b"EHLO c\r\nMAIL FROM:<>\r\nNOOP\r\n"]
    )
    assert output.endswith(bytes(replies.TOO_MANY_MESSAGES) + bytes(replies.OK))


@pytest.mark.parametrize(
    ("command", "then"),
    [(b"DATA\r\n", b""), (b"BDAT 6\r\nQUIT\r\n", b""), (b"BDAT 6 LAST\r\nQUIT\r\n", b"")],
    ids=["DATA", "BDAT", "BDAT LAST"],
)
def test_a_message_for_which_there_is_no_memory_is_refused_before_the_client_sends_it(command, then):
    begin = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\n"
    _, output = smtp_dialogues.play(
        smtp_dialogues.a_session(gate=RefusesData()), [begin + command + then + b"NOOP\r\n"]
    )
    assert output.endswith(bytes(replies.NO_MEMORY) + bytes(replies.OK))


def test_a_large_message_is_passed_on_in_pieces_of_equal_size():
    session = smtp_dialogues.a_session(piece=20)
    raw = b"A: b\r\n\r\n" + bytes(range(32, 126)) + b"\r\n"
    session.receive(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nDATA\r\n")
    session.next_request()
    session.answer(replies.RECIPIENT_OK)
    session.next_request()
    session.receive(raw + b".\r\n")
    pieces = []
    while isinstance(request := session.next_request(), PieceReceived):
        assert request.start == 20 * len(pieces)
        assert session.held_octets == len(raw) - 20 * len(pieces)
        pieces.append(request.octets)
        session.answer(replies.OK)
    assert isinstance(request, MessageReceived)
    assert not session.is_receiving
    assert session.held_octets == len(request.raw)
    assert [len(piece) for piece in pieces] == [20] * 5
    assert (request.start, request.header) == (100, b"A: b\r\n")
    assert b"".join(pieces) + request.raw == raw


def test_a_message_is_refused_if_one_of_its_pieces_cannot_be_stored():
    session = smtp_dialogues.a_session(piece=20)
    session.receive(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nDATA\r\n")
    session.next_request()
    session.answer(replies.RECIPIENT_OK)
    assert session.next_request() is None
    session.receive(b"\r\n" + b"x" * 50)
    assert isinstance(session.next_request(), PieceReceived)
    session.output()
    session.answer(replies.TRY_AGAIN.about(id="an-id"))
    assert session.next_request() is None
    session.receive(b"x" * 1000 + b"\r\n.\r\nNOOP\r\n")
    assert session.next_request() is None
    assert session.output() == bytes(replies.TRY_AGAIN.about(id="an-id")) + bytes(replies.OK)


def test_when_memory_is_scarce_less_than_a_piece_is_passed_on_once_the_header_is_complete():
    session = smtp_dialogues.a_session()
    session.spill()
    session.receive(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nDATA\r\n")
    session.next_request()
    session.answer(replies.RECIPIENT_OK)
    session.receive(b"Subject: hello\r\n")
    assert session.next_request() is None
    session.spill()
    assert session.next_request() is None
    session.receive(b"\r\nHello")
    assert session.next_request() is None
    session.spill()
    assert session.next_request() == PieceReceived(b"Subject: hello\r\n\r\nHello", 0)
    session.answer(replies.OK)
    session.receive(b"!\r\n.\r\n")
    request = session.next_request()
    assert (request.raw, request.start, request.header) == (b"!\r\n", 23, b"Subject: hello\r\n")


def test_a_command_line_that_never_ends_is_not_kept_in_memory():
    session = a_session()
    for _ in range(1_000):
        session.receive(b"x" * 1_000)
        assert session.next_request() is None
    assert session.waiting_octets < 1_000


@pytest.mark.parametrize("verb", [b"NOOP", b"MAIL", b"RCPT"])
@pytest.mark.parametrize("more", range(-2, 5))
def test_the_refusal_of_a_line_near_the_limit_does_not_depend_on_how_it_is_split(verb, more):
    line = verb + b" " + b"x" * (grammar.LONGEST_LINE + more - 7) + b"\r\n"
    octets = b"EHLO c\r\n" + line + 3 * b"x" * len(line) + b"\r\nNOOP\r\n"
    _, at_once = smtp_dialogues.play(a_session(), [octets])
    _, byte_by_byte = smtp_dialogues.play(a_session(), [octets[i : i + 1] for i in range(len(octets))])
    assert byte_by_byte == at_once
    assert at_once.endswith(bytes(replies.OK))


def test_parsed_lines_use_little_memory_however_long_the_lines_of_clients_are():
    def send(length, count):
        for number in range(count):
            session = a_session()
            session.receive(b"NOOP %d" % number + b"x" * length + b"\r\n")
            session.next_request()

    send(50_000, 1)
    tracemalloc.start()
    send(50_000, 100)
    many_long, _ = tracemalloc.get_traced_memory()
    send(grammar.LINE_LIMIT - 20, 2 * LINES_KNOWN)
    most, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert many_long < 100_000
    assert most < LINES_KNOWN * (5 * grammar.LINE_LIMIT)


class KnowsSupport(smtp_dialogues.OpenGate):
    """A gate that knows one recipient."""

    def knows(self, address):
        return address.key == "support@example.com"


def test_a_known_recipient_is_accepted_without_a_request():
    session = smtp_dialogues.a_session(gate=KnowsSupport())
    session.receive(
        b"EHLO client.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<Support@example.com> NOTIFY=NEVER\r\n"
        b"RCPT TO:<other@example.com>\r\nDATA\r\n"
    )
    request = session.next_request()
    assert request.address.key == "other@example.com"
    assert session.output().endswith(bytes(replies.RECIPIENT_OK))
    session.answer(replies.NO_SUCH_USER)
    session.receive(b"Hi!\r\n.\r\n")
    message = session.next_request()
    assert message.envelope.recipients == ("Support@example.com",)
    assert message.envelope.dsn.recipients == (RecipientDsn(("NEVER",)),)


def test_a_turn_also_ends_after_a_number_of_known_recipients():
    session = smtp_dialogues.a_session(gate=KnowsSupport())
    session.receive(b"EHLO client.example\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<support@example.com>\r\n" * COMMANDS_A_TURN)
    assert session.next_request() is None
    assert session.has_more
    assert session.waiting_octets == 2 * len(b"RCPT TO:<support@example.com>\r\n")


def test_a_request_must_be_answered_before_the_next_request():
    session = a_session()
    session.receive(b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nNOOP\r\n")
    assert session.next_request() is not None
    with pytest.raises(RuntimeError):
        session.next_request()


def test_commands_after_a_request_wait_for_the_answer():
    session = a_session()
    session.receive(b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nNOOP\r\n")
    assert session.next_request() is not None
    assert session.waiting_octets == len(b"NOOP\r\n")
    session.output()
    session.answer(replies.RECIPIENT_OK)
    assert session.next_request() is None
    assert session.output() == bytes(replies.RECIPIENT_OK) + bytes(replies.OK)


def test_ehlo_announces_the_limit_on_the_message_size():
    session = smtp_dialogues.a_session()
    _, answer = smtp_dialogues.play(session, [b"EHLO client.example\r\n"])
    assert b"\r\n250-SIZE 41943040\r\n" in answer


def test_a_turn_ends_after_a_number_of_commands_and_the_next_turn_continues():
    session = smtp_dialogues.a_session()
    session.output()
    session.receive(b"NOOP\r\n" * (COMMANDS_A_TURN + 1))

    assert session.next_request() is None
    assert session.has_more
    assert session.output() == bytes(replies.OK) * COMMANDS_A_TURN

    assert session.next_request() is None
    assert not session.has_more
    assert session.output() == bytes(replies.OK)


A_RECIPIENT = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\n"


@pytest.mark.parametrize(
    "octets",
    [
        A_RECIPIENT + b"DATA\r\nSubject: " + b"x" * 300 + b"\r\n.\r\n",
        A_RECIPIENT + b"BDAT 300 LAST\r\n" + b"x" * 250 + b"\n" + b"x" * 49,
        A_RECIPIENT + b"BDAT 60 LAST\r\nSubject: " + b"x" * 50 + b"\n",
    ],
    ids=["header and message too big", "message too big, then a bare line end", "header too big, then a bare line end"],
)
def test_a_message_with_two_errors_gets_the_reply_for_the_first_at_every_split(octets):
    at_once = smtp_dialogues.play(a_session(), [octets])
    assert smtp_dialogues.play(a_session(), smtp_dialogues.cut(octets, set(range(len(octets))))) == at_once


def test_the_check_of_the_header_size_does_not_depend_on_how_the_input_is_split():
    octets = A_RECIPIENT + b"DATA\r\n" + b"x" * 45 + b": b\r\n\r\nHi\r\n.\r\n"
    at_once = smtp_dialogues.play(a_session(), [octets])
    assert smtp_dialogues.play(a_session(), smtp_dialogues.cut(octets, set(range(len(octets))))) == at_once


@pytest.mark.parametrize("sender", ["a@b\x80.example", "a@b.example\x9b"])
def test_a_sender_with_characters_that_are_not_allowed_in_a_header_is_refused(sender):
    _, output = smtp_dialogues.play(
        smtp_dialogues.a_session(), [f"EHLO c\r\nMAIL FROM:<{sender}> SMTPUTF8\r\n".encode()]
    )
    assert output.endswith(bytes(replies.BAD_MAIL))


@pytest.mark.parametrize(
    ("command", "capabilities"),
    [
        (b"BDAT 6 LAST" + b" " * 600, {}),
        (b"BDAT 6 LAST \xff", {}),
        (b"BDAT 6 LAST", {"offers_tls": True, "needs_tls": True}),
    ],
    ids=["too long", "not UTF-8", "before TLS"],
)
def test_the_bytes_of_a_chunk_are_never_parsed_as_commands(command, capabilities):
    _, output = smtp_dialogues.play(
        smtp_dialogues.a_session(**capabilities), [b"EHLO c\r\n", command + b"\r\n" + b"HELP\r\n"]
    )
    assert b"\r\n214" not in output


@pytest.mark.parametrize("octets", [b"NOOP\n", b"NOOP\r\n" * 3], ids=["bare line end", "command limit"])
def test_a_closed_session_keeps_no_input_in_memory(octets):
    session = smtp_dialogues.a_session(command_limit=2)
    session.receive(octets + b"x" * 50_000)
    assert session.next_request() is None
    assert session.farewell
    assert session.held_octets == 0


def test_a_message_uses_as_much_memory_as_held_octets_reports():
    session, system = smtp_dialogues.a_session(), smtp_dialogues.System()
    session.receive(A_RECIPIENT + b"DATA\r\nSubject: hello\r\n\r\n")
    system.serve(session)
    tracemalloc.start()
    for number in range(2_000):
        session.receive(bytes([97 + number % 26]) * 2)
        system.serve(session)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 2 * session.held_octets + 4_000


def test_an_answer_without_a_request_raises_an_exception():
    with pytest.raises(RuntimeError):
        smtp_dialogues.a_session().answer(replies.OK)
