"""Tests that a message after DATA is decoded to its original bytes, and is never split into two messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.smtp_dialogues import cut
from waypost.smtp.protocol import data
from waypost.smtp.protocol.data import END, BareLineEnd, Body, ChunkDecoder, MessageDecoder

FIRST, SECOND = b"first\r\n", b"MAIL FROM:<smuggler@client.example>\r\n"

lines = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\r", b".").replace(b"\n", b".")), max_size=12)
messages = lines.map(lambda parts: b"".join(part + b"\r\n" for part in parts))
places = st.sets(st.integers(1, 200), max_size=30)

NOT_THE_END_OF_A_MESSAGE = [
    b"\n.\n",
    b"\n.\r\n",
    b"\n.\r",
    b"\r.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\n\r\n",
    b"\r\n.\r\r\n",
    b"\r\n.\n\n",
    b"\r\r\n.\r\n",
    b"\n\r\n.\r\n",
    b"\n\n.\r\n",
    b"\r\n\r.\r\n",
    b"\r\n\n.\r\n",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\r\n.\x00\n",
    b"\r\x00\n.\r\n",
    b"\r\n. \r\n",
    b"\r\n .\r\n",
    b"\r\n..\r\n",
    b"\r\n\x0b.\r\n",
    b"\r\n\x0c.\x0c\r\n",
    b"\x85.\x85",
    "\u2028.\u2028".encode(),
    b"\r\n\xef\xbb\xbf.\r\n",
    b"=0D=0A.=0D=0A",
]


def stuffed(message: bytes) -> bytes:
    """Return a message as a client sends it: with dot-stuffing, and with the line that ends it."""
    return b"".join(b"." + line if line.startswith(b".") else line for line in _lines(message)) + b".\r\n"


class Decoder(MessageDecoder):
    """A decoder together with the body that it fills."""

    def __init__(self, limit):
        self.body = Body(limit)
        super().__init__(self.body)

    @property
    def raw(self):
        return bytes(self.body._octets)

    @property
    def too_big(self):
        return self.body.refusal is not None


def decode(pieces: list[bytes], limit: int = 1_000) -> tuple[Decoder, bytes | None]:
    """Feed the pieces to a new decoder. Returns the decoder, and the bytes after the message."""
    decoder, rest = Decoder(limit), None
    for piece in pieces:
        rest = decoder.feed(piece) if rest is None else rest + piece
    return decoder, rest


@given(message=messages, after=st.binary(max_size=20), places=places)
def test_the_message_is_decoded_correctly_at_every_split(message, after, places):
    decoder, rest = decode(cut(stuffed(message) + after, places))
    assert (decoder.raw, rest) == (message, after)


@given(message=messages)
def test_the_decoder_returns_none_until_the_end_of_the_message(message):
    sent = stuffed(message)
    decoder, rest = decode([sent[i : i + 1] for i in range(len(sent) - 1)])
    assert rest is None
    assert decoder.feed(sent[-1:]) == b""


@given(octets=st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", END, b"x"]), max_size=20).map(b"".join))
def test_any_input_gives_one_message_of_complete_lines_or_a_refusal(octets):
    outcomes = set()
    for pieces in ([octets], [octets[i : i + 1] for i in range(len(octets))]):
        try:
            decoder, rest = decode(pieces)
        except BareLineEnd:
            outcomes.add("refused")
            continue
        outcomes.add(rest if rest is None else (decoder.raw, rest))
        if rest is not None:
            assert decoder.raw.count(b"\r\n") == decoder.raw.count(b"\r") == decoder.raw.count(b"\n")
            assert stuffed(decoder.raw) + rest == _without_unnecessary_dots(octets, rest)
    assert len(outcomes) == 1


@pytest.mark.parametrize("trick", NOT_THE_END_OF_A_MESSAGE, ids=repr)
def test_a_sequence_that_resembles_the_end_of_a_message_does_not_end_it(trick):
    sent = FIRST[:-2] + trick + SECOND + b".\r\n"
    for pieces in ([sent], [sent[i : i + 1] for i in range(len(sent))]):
        try:
            decoder, rest = decode(pieces)
        except BareLineEnd:
            continue
        assert rest == b""
        assert decoder.raw.endswith(SECOND)


@pytest.mark.parametrize(
    "trick", [trick for trick in NOT_THE_END_OF_A_MESSAGE if b"\r" in trick or b"\n" in trick], ids=repr
)
def test_a_bare_line_end_is_refused(trick):
    bare = trick.replace(b"\r\n", b"")
    sent = FIRST[:-2] + trick + SECOND + b".\r\n"
    if b"\r" in bare or b"\n" in bare:
        with pytest.raises(BareLineEnd):
            decode([sent])
    else:
        decode([sent])


def test_a_bare_line_end_after_the_message_does_not_affect_the_message():
    assert decode([b"x\r\n.\r\n\n"])[1] == b"\n"


@given(message=messages, places=places)
def test_the_size_limit_does_not_count_stuffed_dots(message, places):
    pieces = cut(stuffed(message), places)
    exact, _ = decode(pieces, limit=len(message))
    assert not exact.too_big
    assert exact.raw == message
    if message:
        short, rest = decode(pieces, limit=len(message) - 1)
        assert short.too_big
        assert rest == b""


def test_nothing_is_kept_of_a_message_that_is_too_big():
    decoder = Decoder(1_000)
    for _ in range(1_000):
        assert decoder.feed(b"x" * 998 + b"\r\n") is None
    assert decoder.too_big
    assert decoder.raw == b""
    assert decoder.feed(b".\r\nrest") == b"rest"


@given(octets=st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"x"]), max_size=12).map(b"".join))
def test_the_bytes_taken_before_a_bare_line_end_do_not_depend_on_the_split(octets):
    taken = set()
    for pieces in ([octets], [octets[i : i + 1] for i in range(len(octets))]):
        decoder = Decoder(1_000)
        try:
            for piece in pieces:
                if decoder.feed(piece) is not None:
                    return
        except BareLineEnd:
            taken.add(decoder.raw)
    assert len(taken) <= 1


@given(octets=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x"]), max_size=12).map(b"".join), places=places)
def test_a_bare_line_end_in_text_chunks_is_refused_at_every_split(octets, places):
    body = Body(1_000)
    decoder = ChunkDecoder(body, may_be_binary=False)
    for piece in cut(octets, places):
        decoder.left = len(piece)
        assert decoder.feed(piece + b"rest") == b"rest"
        assert decoder.left == 0
    decoder.end()
    is_good = octets.count(b"\r\n") == octets.count(b"\r") == octets.count(b"\n")
    assert (body.refusal is None) == is_good
    assert body.finish() == (octets if is_good else b"")


KINDS = [
    (b"", "7BIT"),
    (b"A: b\r\n\r\nplain\r\nlines", "7BIT"),
    (b"A: b\r\n\r\n\xfc\r\n", "8BITMIME"),
    (b"A: \xfc\r\n\r\n", "8BITMIME"),
    (b"A: b\r\n\r\na\nb", "BINARYMIME"),
    (b"A: b\r\n\r\na\rb", "BINARYMIME"),
    (b"A: b\r\n\r\n\r", "BINARYMIME"),
    (b"A: b\r\n\r\na\x00\r\n\xfc", "BINARYMIME"),
    (b"A: b\r\n\r\n\xfc\n\xfc", "BINARYMIME"),
]


@given(case=st.sampled_from(KINDS), places=places)
def test_the_type_of_a_message_declared_as_binary_depends_only_on_its_bytes(case, places):
    octets, kind = case
    body = Body(1_000)
    decoder = ChunkDecoder(body, may_be_binary=True)
    for piece in cut(octets, places):
        decoder.left = len(piece)
        assert decoder.feed(piece + b"rest") == b"rest"
    decoder.end()
    assert body.finish() == octets
    assert (body.kind, body.refusal) == (kind, None)


@pytest.mark.parametrize(("octets", "kind"), KINDS[:4], ids=repr)
def test_the_type_of_a_message_after_data_depends_on_its_bytes(octets, kind):
    body = Body(1_000)
    body.take(octets)
    assert body.kind == kind


@pytest.mark.parametrize(("lines", "is_good"), [(data.HEADER_LINE_LIMIT, True), (data.HEADER_LINE_LIMIT + 1, False)])
def test_the_number_of_lines_in_a_header_is_limited(lines, is_good):
    body = Body(1_000_000)
    body.take(b"A:\r\n" * lines + b"\r\nHi\r\n")
    body.finish()
    assert (body.refusal is None) == is_good
    assert len(body.header) == 4 * lines


def test_a_header_that_does_not_end_within_the_first_piece_is_refused():
    body = Body(1_000_000, piece=100)
    body.take(b"A: b\r\n c\r\n" * 11)
    assert body.next_piece() is None
    assert body.refusal.code == 552
    assert body.buffered == 0


def test_a_line_that_is_not_a_field_ends_the_header():
    body = Body(1_000_000, piece=22)
    body.take(b"A: b\r\n c\r\nno field\r\nand long enough\r\n")
    assert body.next_piece() == b"A: b\r\n c\r\nno field\r\nan"
    assert body.header == b"A: b\r\n c\r\n"


def _lines(message: bytes) -> list[bytes]:
    return message.splitlines(keepends=True)


def _without_unnecessary_dots(octets: bytes, rest: bytes) -> bytes:
    """Return the input without dots before lines that need none. The decoder removes such dots too."""
    *sent, _ = _lines(octets[: len(octets) - len(rest)])
    message = b"".join(line.removeprefix(b".") for line in sent)
    return stuffed(message) + rest


def test_a_long_message_without_an_empty_line_is_not_treated_as_a_long_header():
    body = Body(1_000_000)
    body.take(b"A: b\r\n" + b"hi\r\n" * (data.HEADER_LINE_LIMIT + 1))
    body.finish()
    assert body.refusal is None
    assert body.header == b"A: b\r\n"


@pytest.mark.parametrize("octets", [b"A: b\r\n", b"A: b\r\n c\r\n", b"A: b\r\nB", b"", b"A:"], ids=repr)
def test_the_end_of_a_message_is_not_treated_as_a_line_that_ends_the_header(octets):
    body = Body(1_000)
    body.take(octets)
    body.finish()
    assert body.header in (octets, b"A: b\r\n")


def test_when_memory_is_scarce_a_long_header_is_refused():
    body = Body(1_000_000)
    body.take(b"A: b\r\n" * (data.SCARCE_HEADER // 6))
    body.spill()
    assert body.next_piece() is None
    assert body.refusal is None
    body.take(b"A: b\r\n" * 9)
    body.spill()
    assert body.next_piece() is None
    assert body.refusal.code == 452
    assert body.buffered == 0
