"""The transfer of one message from the client, either after DATA or in BDAT chunks."""

from enum import Enum, auto

from waypost.smtp.protocol import replies
from waypost.smtp.protocol.data import BareLineEnd, Body, ChunkDecoder, MessageDecoder
from waypost.smtp.protocol.replies import Reply


class Ended(Enum):
    """The part of the transfer that has just ended: a chunk or the message."""

    CHUNK = auto()
    """A chunk that is not the last chunk of its message."""
    MESSAGE = auto()


class Transfer:
    """Reads the bytes of one message from the input. The caller must take all pieces from `body.next_piece` before it
    handles the end of the message.
    """

    __slots__ = ("_chunks", "_is_last_chunk", "_lines", "body", "chunk_size", "ended")

    def __init__(self, body: Body, *, chunks: ChunkDecoder | None = None) -> None:
        """`chunks` reads the BDAT chunks. If `chunks` is None, the client sends the message after DATA."""
        self.body = body
        self._chunks = chunks
        self._lines = None if chunks else MessageDecoder(body)
        self._is_last_chunk = False
        self.chunk_size = 0
        """The size of the current chunk, in bytes."""
        self.ended: Ended | Reply | None = None
        """The part that has just ended, or the reply that ends the session in the middle of the message; otherwise
        None.
        """

    def begin_chunk(self, size: int, *, is_last: bool) -> None:
        """Begin the next chunk, which has `size` bytes."""
        assert self._chunks
        self._chunks.left = self.chunk_size = size
        self._is_last_chunk = is_last
        if not size:
            self.ended = self._chunk_ended()

    def take(self, octets: bytearray) -> None:
        """Read the bytes of the message and remove them from `octets`. Leave any bytes that follow the chunk or
        message.
        """
        if self._lines:
            taken = bytes(octets)
            octets.clear()
            try:
                rest = self._lines.feed(taken)
                if rest is not None:
                    octets += rest
                    self.ended = Ended.MESSAGE
            except BareLineEnd:
                self.ended = replies.BARE_LINE_END_IN_DATA
            if self.body.refusal and self.body.is_endless:  # even if the message has ended
                self.ended = self.body.refusal
        else:
            assert self._chunks
            # Only the chunk is copied, because the input may contain thousands of chunks of one byte.
            taken = bytes(octets[: self._chunks.left])
            del octets[: len(taken)]
            self._chunks.feed(taken)
            if not self._chunks.left:
                self.ended = self._chunk_ended()

    def finish(self) -> bytes:
        """End the message, and return the remaining bytes, which have not been returned as pieces.

        Afterwards, `body.refusal` is set if the message must be refused.
        """
        if self._chunks:
            self._chunks.end()
        return self.body.finish()

    def _chunk_ended(self) -> Ended:
        return Ended.MESSAGE if self._is_last_chunk else Ended.CHUNK
