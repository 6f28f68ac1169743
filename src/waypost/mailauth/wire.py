"""What the checker asks its worker, in frames (`sandbox.frames`), and how verdicts are sent back.

Each request is about one message or one probe. The frames of several messages may be interleaved, so that a slow
message does not delay other messages.
"""

from enum import IntEnum
from typing import Any

from msgspec import to_builtins

from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Dkim, Dmarc, Outcome, Spf, Verdicts


class Kind(IntEnum):
    """The kinds of questions that the checker asks."""

    CHECK = 3
    """A request to check the message, which is now complete.

    The frame contains a JSON object with `claim` and `seconds`. The answer contains `verdicts` and `silent`, or, if the
    check failed, the name of the exception as `failed`.
    """
    PROBE = 4
    """A request to test whether the DNS responds.

    The frame contains a JSON object with `seconds`, and the answer contains `works`.
    """


def to_json(verdicts: Verdicts) -> dict[str, Any]:
    """Return the verdicts on a message as JSON values."""
    members: dict[str, Any] = to_builtins(verdicts)
    return members


def from_json(members: dict[str, Any]) -> Verdicts:
    """Build verdicts from the JSON values that `to_json` returned."""
    return Verdicts(
        Spf(**_outcome(members["spf"])),
        tuple(Dkim(**_outcome(signature)) for signature in members["dkim"]),
        Dmarc(**_outcome(members["dmarc"]) | {"naming": Naming(members["dmarc"]["naming"])}),
    )


def _outcome(members: dict[str, Any]) -> dict[str, Any]:
    return {**members, "outcome": Outcome(members["outcome"])}
