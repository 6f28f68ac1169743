"""The protocol between the checker and its worker: frames to the worker, and answers, one JSON object each.

A frame is for one message, and messages may be interleaved, so that a slow one does not delay others.
"""

import json
import struct
from dataclasses import asdict
from enum import IntEnum
from typing import Any

from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Dkim, Dmarc, Outcome, Spf, Verdicts

FRAME = struct.Struct("!IBI")
"""The number of the message, a `Kind`, and how many octets follow."""

ANSWER = struct.Struct("!I")
"""How many octets of JSON follow."""

PIECE = 64 * 1024
"""Octets that one frame has at most."""


class Kind(IntEnum):
    """What a frame is."""

    OCTETS = 1
    """More of the message, as it came."""
    CHECK = 2
    """The message is complete: JSON with `claim` and `seconds`. It is answered with `verdicts` and `silent`, or, if the
    check has failed, with `failed`: the name of the error."""
    FORGET = 3
    """The result of this message is no longer needed. It is not answered."""
    PROBE = 4
    """Does DNS work? JSON with `seconds`. It is answered with `works`."""


def frame(number: int, kind: Kind, octets: bytes = b"") -> bytes:
    """One frame."""
    return FRAME.pack(number, kind, len(octets)) + octets


def answer(number: int, **members: object) -> bytes:
    """One answer."""
    octets = json.dumps({"number": number, **members}).encode("ascii")
    return ANSWER.pack(len(octets)) + octets


def to_json(verdicts: Verdicts) -> dict[str, Any]:
    """Verdicts as JSON."""
    return asdict(verdicts)


def from_json(members: dict[str, Any]) -> Verdicts:
    """The same verdicts again."""
    return Verdicts(
        Spf(**_outcome(members["spf"])),
        tuple(Dkim(**_outcome(signature)) for signature in members["dkim"]),
        Dmarc(**_outcome(members["dmarc"]) | {"naming": Naming(members["dmarc"]["naming"])}),
    )


def _outcome(members: dict[str, Any]) -> dict[str, Any]:
    return {**members, "outcome": Outcome(members["outcome"])}
