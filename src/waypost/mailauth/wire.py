"""The protocol between the checker and its worker: the checker sends frames, and the worker answers with JSON objects.

Each frame belongs to one message or probe. The frames of several messages may be interleaved, so that a slow message
does not delay other messages.
"""

import json
import struct
from dataclasses import asdict
from enum import IntEnum
from typing import Any

from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Dkim, Dmarc, Outcome, Spf, Verdicts

FRAME = struct.Struct("!IBI")
"""The header of a frame: the number of the message or probe, a `Kind`, and the number of bytes that follow."""

ANSWER = struct.Struct("!I")
"""The header of an answer: the number of bytes of JSON that follow."""

PIECE = 64 * 1024
"""The maximum number of bytes of a message in one frame."""


class Kind(IntEnum):
    """The kind of a frame that the checker sends to the worker."""

    OCTETS = 1
    """The next bytes of the message, unchanged."""
    CHECK = 2
    """A request to check the message, which is now complete.

    The frame contains a JSON object with `claim` and `seconds`. The answer contains `verdicts` and `silent`, or, if the
    check failed, the name of the exception as `failed`.
    """
    FORGET = 3
    """A note that the checker no longer needs the result for this message. The worker does not answer this frame."""
    PROBE = 4
    """A request to test whether the DNS responds.

    The frame contains a JSON object with `seconds`, and the answer contains `works`.
    """


def frame(number: int, kind: Kind, octets: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return FRAME.pack(number, kind, len(octets)) + octets


def answer(number: int, **members: object) -> bytes:
    """Return the bytes of one answer."""
    octets = json.dumps({"number": number, **members}).encode("ascii")
    return ANSWER.pack(len(octets)) + octets


def to_json(verdicts: Verdicts) -> dict[str, Any]:
    """Return the verdicts on a message as JSON values."""
    return asdict(verdicts)


def from_json(members: dict[str, Any]) -> Verdicts:
    """Build verdicts from the JSON values that `to_json` returned."""
    return Verdicts(
        Spf(**_outcome(members["spf"])),
        tuple(Dkim(**_outcome(signature)) for signature in members["dkim"]),
        Dmarc(**_outcome(members["dmarc"]) | {"naming": Naming(members["dmarc"]["naming"])}),
    )


def _outcome(members: dict[str, Any]) -> dict[str, Any]:
    return {**members, "outcome": Outcome(members["outcome"])}
