"""The protocol between the server and a worker process: the server sends frames, and the worker answers.

Each frame belongs to one request. Each answer is a JSON object, which bytes may follow.
"""

import json
import struct
from collections.abc import Iterator
from typing import BinaryIO

FRAME = struct.Struct("!IBI")
"""The header of a frame: the number of the request, the kind of the frame, and the number of bytes that follow."""

ANSWER = struct.Struct("!II")
"""The header of an answer: the number of bytes of JSON, and the number of bytes that follow the JSON."""

PIECE = 64 * 1024
"""The maximum number of bytes of a message in one frame."""

OCTETS = 1
"""The kind of a frame that contains the next bytes that a request is about, unchanged."""

FORGET = 2
"""The kind of a frame that says that the server no longer needs an answer. The worker does not answer this frame.

Each worker defines the other kinds, from 3. They are questions.
"""


def frame(number: int, kind: int, octets: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return FRAME.pack(number, kind, len(octets)) + octets


def answer(number: int, octets: bytes = b"", **members: object) -> list[bytes]:
    """Return the bytes of one answer, in two pieces: `octets` may be large, so it is not copied."""
    text = json.dumps({"number": number, **members}).encode("ascii")
    return [ANSWER.pack(len(text), len(octets)) + text, octets]


def read(frames: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yield the number, the kind and the bytes of each frame, until the input ends."""
    while head := frames.read(FRAME.size):
        number, kind, size = FRAME.unpack(head)
        yield number, kind, frames.read(size)
