"""The transfer of one message, after DATA or in the chunks of BDAT."""

from enum import Enum, auto

from waypost.smtp.protocol import replies
from waypost.smtp.protocol.data import BareLineEnd, Body, ChunkDecoder, MessageDecoder
from waypost.smtp.protocol.replies import Reply


class Ended(Enum):
    """What has ended in the octets that were read last."""

    CHUNK = auto()
    """A chunk that is not the last of its message."""
    MESSAGE = auto()


class Transfer:
    """Takes the octets of a message from the input. The end counts after all pieces were passed on."""

    __slots__ = ("_chunks", "_is_last_chunk", "_lines", "body", "chunk_size", "ended")

    def __init__(self, body: Body, *, chunks: ChunkDecoder | None = None) -> None:
        """`chunks` reads the chunks of BDAT; without it the message comes after DATA."""
        self.body = body
        self._chunks = chunks
        self._lines = None if chunks else MessageDecoder(body)
        self._is_last_chunk = False
        self.chunk_size = 0
        """Octets of the current chunk."""
        self.ended: Ended | Reply | None = None
        """What has ended; or the reply that ends the session in the midst of the message."""

    def begin_chunk(self, size: int, *, is_last: bool) -> None:
        """Begin the next chunk, of `size` octets."""
        assert self._chunks
        self._chunks.left = self.chunk_size = size
        self._is_last_chunk = is_last
        if not size:
            self.ended = self._chunk_ended()

    def take(self, octets: bytearray) -> None:
        """Read the available octets of the message, and leave those after it."""
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
            if self.body.refusal and self.body.is_endless:  # then its end does not count, if it has come
                self.ended = self.body.refusal
        else:
            assert self._chunks
            # No more than the chunk: thousands of chunks of an octet may wait here, behind one another.
            taken = bytes(octets[: self._chunks.left])
            del octets[: len(taken)]
            self._chunks.feed(taken)
            if not self._chunks.left:
                self.ended = self._chunk_ended()

    def finish(self) -> bytes:
        """End the message; returns the octets that were not passed on. `body.refusal` is the reply if it is refused."""
        if self._chunks:
            self._chunks.end()
        return self.body.finish()

    def _chunk_ended(self) -> Ended:
        return Ended.MESSAGE if self._is_last_chunk else Ended.CHUNK
