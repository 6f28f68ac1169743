"""The SMTP session says and asks what the dialogues say, however its input is cut."""

import tracemalloc
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.kit import invariants, smtp_dialogues
from tests.kit.examples import examples
from waypost.smtp.protocol import grammar, replies
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.protocol.requests import MessageReceived, PieceReceived, TlsWanted
from waypost.smtp.protocol.session import COMMANDS_A_TURN

DIALOGUES = {path.stem: smtp_dialogues.read(path) for path in sorted(Path(__file__).parent.glob("dialogues/*.smtp"))}

every_dialogue = pytest.mark.parametrize("told", DIALOGUES.values(), ids=DIALOGUES.keys())

CUTTABLE = {name: told for name, told in DIALOGUES.items() if "tls" not in told.events}
"""All but those in which what comes before the handshake is forgotten, and what comes after it is not."""

every_cuttable = pytest.mark.parametrize("told", CUTTABLE.values(), ids=CUTTABLE.keys())

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
    """What a good client says, with a few words of it left out, or others put in between."""
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
ways = st.builds(invariants.Way, shakes_hands=st.booleans(), has_porter=st.booleans())


def a_session():
    return smtp_dialogues.a_session(message_limit=200, recipient_limit=3, piece=40, error_limit=8)


@every_dialogue
def test_turn_by_turn(told):
    session, system = told.session(), smtp_dialogues.System()
    for number, turn in enumerate(told.turns, 1):
        session.receive(turn.sent)
        answer, asked = system.serve(session), list(system.events)
        system.events.clear()
        assert asked == turn.events, f"turn {number}"
        assert smtp_dialogues.is_told(answer, turn.told), f"turn {number}: {answer}"


@every_cuttable
def test_all_at_once(told):
    asked, answer = smtp_dialogues.play(told.session(), [told.sent])
    assert asked == told.events
    assert smtp_dialogues.is_told(answer, told.told), answer


@every_cuttable
def test_byte_by_byte(told):
    size = 1 + len(told.sent) // 20_000  # a few of them at once where there are very many
    asked, answer = smtp_dialogues.play(
        told.session(), [told.sent[i : i + size] for i in range(0, len(told.sent), size)]
    )
    assert asked == told.events
    assert smtp_dialogues.is_told(answer, told.told), answer
    assert (asked, answer) == smtp_dialogues.play(told.session(), [told.sent])


@every_cuttable
@settings(max_examples=examples(20), deadline=None)
@given(places=st.sets(st.floats(0, 1), max_size=20))
def test_cut_at_random(told, places):
    pieces = smtp_dialogues.cut(told.sent, {int(place * len(told.sent)) for place in places})
    asked, answer = smtp_dialogues.play(told.session(), pieces)
    assert asked == told.events
    assert smtp_dialogues.is_told(answer, told.told), answer


@settings(max_examples=examples(150), deadline=None)
@given(
    capabilities=offers, octets=conversations() | anything | odd_paths, sizes=st.lists(st.integers(1, 200)), way=ways
)
def test_whatever_is_sent_and_however_it_is_cut(capabilities, octets, sizes, way):
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
    asked = list(system.events)
    told = b""
    for piece in smtp_dialogues.cut(line + after, sizes):
        session.receive(piece)
        told += system.serve(session)
    assert told == bytes(replies.NOT_SMTP)
    assert system.events == [*asked, "closed"]


GOOD_BEFORE_EHLO = {b"EHLO", b"HELO", b"LHLO", b"NOOP", b"RSET", b"VRFY", b"HELP", b"QUIT"}
bad_lines = (
    st.binary(max_size=1_200) | st.sampled_from([*invariants.MAILS, *invariants.RECIPIENTS, b"DATA", b"RSET x"])
).map(lambda octets: octets.translate(None, b"\r\n") + b"\r\n")


@settings(max_examples=examples(150), deadline=None)
@given(line=bad_lines, after=conversations() | anything, sizes=st.sets(st.integers(1, 3_000)))
def test_no_mail_is_accepted_after_an_error_before_the_greeting(line, after, sizes):
    assume(line == b"RSET x\r\n" or line.rstrip(b"\r\n ").partition(b" ")[0].upper() not in GOOD_BEFORE_EHLO)
    asked, told = smtp_dialogues.play(smtp_dialogues.a_session(), smtp_dialogues.cut(line + after, sizes))
    assert asked == ["closed"]
    assert told.count(b"\r\n") == 2  # the greeting, and one reply


@pytest.mark.parametrize("name", [name for name in DIALOGUES if name.startswith(("http", "tls_hello", "error_before"))])
def test_a_request_that_comes_in_two_parts_is_refused_wherever_it_is_cut(name):
    told = DIALOGUES[name]
    for place in range(len(told.sent)):
        asked, answer = smtp_dialogues.play(told.session(), smtp_dialogues.cut(told.sent, {place}))
        assert (asked, smtp_dialogues.is_told(answer, told.told)) == (told.events, True), place


def test_a_bad_header_of_a_binary_message_is_refused_a_chunk_sooner_where_memory_is_scarce():
    chunks = b"BDAT 24\r\nHi\n.\r\n\r\nSubject: hello\r\nBDAT 0 LAST\r\n"
    octets = invariants.GREETINGS[0] + invariants.MAILS[2] + invariants.RECIPIENTS[0] + chunks
    invariants.check(Capabilities(hostname="mail.example"), octets, [1], invariants.Way())


@every_dialogue
def test_what_holds_for_all_sessions_holds_for_the_dialogues(told):
    if len(told.sent) < 2_000:
        capabilities = Capabilities(**{"hostname": "mail.example"} | told.options)
        invariants.check(capabilities, told.sent, [7, 30, 1], invariants.Way())
        invariants.check(replace(capabilities, piece=40), told.sent, [100], invariants.Way(shakes_hands=False))


@given(octets=anything)
def test_after_the_farewell_nothing_is_said_or_asked(octets):
    session = a_session()
    smtp_dialogues.play(session, [b"QUIT\r\n"])
    assert session.farewell is replies.BYE
    assert smtp_dialogues.play(session, [octets]) == (["closed"], b"")
    assert session.waiting_octets == 0


HANDSHAKE = b"EHLO client.example\r\nSTARTTLS\r\n"
INJECTED = b"EHLO evil.example\r\nMAIL FROM:<a@evil.example>\r\nRCPT TO:<support@example.com>\r\nDATA\r\nHi\r\n.\r\n"


@pytest.mark.parametrize("length", [0, 1, 18, 40, 75, 81, len(INJECTED)])
def test_commands_injected_before_the_handshake_are_forgotten(length):
    session, system = smtp_dialogues.a_session(offers_tls=True), smtp_dialogues.System()
    session.receive(HANDSHAKE + INJECTED[:length])
    assert isinstance(session.next_request(), TlsWanted)
    session.receive(INJECTED[length:])  # while the handshake goes on
    told = session.output()
    assert told.endswith(bytes(replies.READY_FOR_TLS))
    assert session.waiting_octets == 0
    session.tls_started("TLSv1.3 X")
    assert system.serve(session) == b""
    session.receive(b"RSET\r\nMAIL FROM:<b@client.example>\r\n")
    said = system.serve(session).decode()
    assert said == "250 2.0.0 OK\r\n503 5.5.1 MAIL is out of order: send EHLO first, and one MAIL at a time\r\n"
    assert system.events == []


def test_starttls_in_the_midst_of_a_message_forgets_it():
    session, system = smtp_dialogues.a_session(offers_tls=True), smtp_dialogues.System()
    session.receive(b"EHLO c\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<support@example.com>\r\nBDAT 3\r\nHi!STARTTLS\r\n")
    system.serve(session)
    session.receive(b"EHLO c\r\nBDAT 3 LAST\r\nHo!")
    assert system.serve(session).decode().splitlines()[-1].startswith("503 5.5.1 BDAT is out of order")
    assert system.events == ["recipient support@example.com -> 250", "tls"]


class Closed:
    """Lets nothing in."""

    def at_mail(self):
        return replies.TOO_MANY_MESSAGES

    def at_data(self):
        return replies.NO_MEMORY

    def refused(self, reply):
        pass


class ClosedAtData(Closed):
    def at_mail(self):
        return None


def test_a_message_that_may_not_come_now_is_refused_at_mail():
    _, told = smtp_dialogues.play(smtp_dialogues.a_session(gate=Closed()), [b"EHLO c\r\nMAIL FROM:<>\r\nNOOP\r\n"])
    assert told.endswith(bytes(replies.TOO_MANY_MESSAGES) + bytes(replies.OK))


@pytest.mark.parametrize(
    ("command", "then"),
    [(b"DATA\r\n", b""), (b"BDAT 6\r\nQUIT\r\n", b""), (b"BDAT 6 LAST\r\nQUIT\r\n", b"")],
    ids=["DATA", "BDAT", "BDAT LAST"],
)
def test_a_message_for_which_there_is_no_memory_is_refused_before_it_comes(command, then):
    begin = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\n"
    _, told = smtp_dialogues.play(smtp_dialogues.a_session(gate=ClosedAtData()), [begin + command + then + b"NOOP\r\n"])
    assert told.endswith(bytes(replies.NO_MEMORY) + bytes(replies.OK))


def test_a_large_message_is_handed_on_in_pieces_of_one_size():
    session = smtp_dialogues.a_session(piece=20)
    raw = b"A: b\r\n\r\n" + bytes(range(32, 126)) + b"\r\n"
    session.receive(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nDATA\r\n")
    session.next_request()
    session.answer(replies.RECIPIENT_OK)
    session.next_request()
    session.receive(raw + b".\r\n")
    pieces = []
    while isinstance(question := session.next_request(), PieceReceived):
        assert question.start == 20 * len(pieces)
        assert session.held_octets == len(raw) - 20 * len(pieces)
        pieces.append(question.octets)
        session.answer(replies.OK)
    assert isinstance(question, MessageReceived)
    assert not session.is_receiving
    assert session.held_octets == len(question.raw)
    assert [len(piece) for piece in pieces] == [20] * 5
    assert (question.start, question.header) == (100, b"A: b\r\n")
    assert b"".join(pieces) + question.raw == raw


def test_a_piece_that_cannot_be_kept_is_the_end_of_its_message():
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


def test_when_memory_is_scarce_less_than_a_piece_is_handed_on_but_for_the_header():
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
    question = session.next_request()
    assert (question.raw, question.start, question.header) == (b"!\r\n", 23, b"Subject: hello\r\n")


def test_a_command_line_without_end_is_not_kept():
    session = a_session()
    for _ in range(1_000):
        session.receive(b"x" * 1_000)
        assert session.next_request() is None
    assert session.waiting_octets < 1_000


@pytest.mark.parametrize("verb", [b"NOOP", b"MAIL", b"RCPT"])
@pytest.mark.parametrize("more", range(-2, 5))
def test_a_line_about_as_long_as_any_may_be_is_refused_alike_however_it_is_cut(verb, more):
    line = verb + b" " + b"x" * (grammar.LONGEST_LINE + more - 7) + b"\r\n"
    octets = b"EHLO c\r\n" + line + 3 * b"x" * len(line) + b"\r\nNOOP\r\n"
    _, at_once = smtp_dialogues.play(a_session(), [octets])
    _, one_by_one = smtp_dialogues.play(a_session(), [octets[i : i + 1] for i in range(len(octets))])
    assert one_by_one == at_once
    assert at_once.endswith(bytes(replies.OK))


def test_a_question_must_be_answered_before_the_next():
    session = a_session()
    session.receive(b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nNOOP\r\n")
    assert session.next_request() is not None
    with pytest.raises(RuntimeError):
        session.next_request()


def test_commands_after_a_question_wait_for_its_answer():
    session = a_session()
    session.receive(b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nNOOP\r\n")
    assert session.next_request() is not None
    assert session.waiting_octets == len(b"NOOP\r\n")
    session.output()
    session.answer(replies.RECIPIENT_OK)
    assert session.next_request() is None
    assert session.output() == bytes(replies.RECIPIENT_OK) + bytes(replies.OK)


def test_the_limit_of_a_message_is_the_one_that_ehlo_tells():
    session = smtp_dialogues.a_session()
    _, answer = smtp_dialogues.play(session, [b"EHLO client.example\r\n"])
    assert b"\r\n250-SIZE 41943040\r\n" in answer


def test_a_turn_ends_after_so_many_commands_and_the_next_goes_on():
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
    ids=["its header and itself too big", "too big, then a bare line end", "its header too big, then a bare line end"],
)
def test_a_message_refused_for_two_reasons_is_told_the_first_however_it_is_cut(octets):
    at_once = smtp_dialogues.play(a_session(), [octets])
    assert smtp_dialogues.play(a_session(), smtp_dialogues.cut(octets, set(range(len(octets))))) == at_once


def test_whether_a_header_is_too_big_is_the_same_however_it_is_cut():
    octets = A_RECIPIENT + b"DATA\r\n" + b"x" * 45 + b": b\r\n\r\nHi\r\n.\r\n"
    at_once = smtp_dialogues.play(a_session(), [octets])
    assert smtp_dialogues.play(a_session(), smtp_dialogues.cut(octets, set(range(len(octets))))) == at_once


@pytest.mark.parametrize("sender", ["a@b\x80.example", "a@b.example\x9b"])
def test_a_sender_has_nothing_that_a_header_may_not_hold(sender):
    _, told = smtp_dialogues.play(smtp_dialogues.a_session(), [f"EHLO c\r\nMAIL FROM:<{sender}> SMTPUTF8\r\n".encode()])
    assert told.endswith(bytes(replies.BAD_MAIL))


@pytest.mark.parametrize(
    ("command", "capabilities"),
    [
        (b"BDAT 6 LAST" + b" " * 600, {}),
        (b"BDAT 6 LAST \xff", {}),
        (b"BDAT 6 LAST", {"offers_tls": True, "needs_tls": True}),
    ],
    ids=["too long", "not UTF-8", "before TLS"],
)
def test_the_octets_of_a_chunk_are_never_taken_for_commands(command, capabilities):
    _, told = smtp_dialogues.play(
        smtp_dialogues.a_session(**capabilities), [b"EHLO c\r\n", command + b"\r\n" + b"HELP\r\n"]
    )
    assert b"\r\n214" not in told


@pytest.mark.parametrize("octets", [b"NOOP\n", b"NOOP\r\n" * 3], ids=["bare line end", "command limit"])
def test_a_session_that_is_over_holds_nothing(octets):
    session = smtp_dialogues.a_session(command_limit=2)
    session.receive(octets + b"x" * 50_000)
    assert session.next_request() is None
    assert session.farewell
    assert session.held_octets == 0


def test_a_message_takes_as_much_memory_as_is_told():
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


def test_an_answer_without_a_question_is_a_mistake():
    with pytest.raises(RuntimeError):
        smtp_dialogues.a_session().answer(replies.OK)
