"""Decide whether a message is accepted, refused or deferred, based on the results of the sender checks.

With the setting `enforce`, a message is accepted only if none of the results that are still unknown could require its
refusal. It does not matter whether this server or a DNS server failed to provide a result, because a hostile sender can
make either of them fail.
"""

from enum import Enum, StrEnum, auto

from msgspec import Struct

from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Dmarc, Outcome, Verdicts


class Reason(StrEnum):
    """The reason why the sender of a message was not checked."""

    OFF = "this server does not check senders"
    HANDED_OVER = "it comes from a trusted mail server"
    TRUSTED = "it comes from a trusted network"
    DNS_SILENT = "the DNS does not answer"
    DNS_UNKNOWN = "it is not known yet whether the DNS answers"
    NO_WORKER = "the process that checks messages is not running"
    NO_PLACE = "too many messages are being checked"
    NO_SHARE = "too many messages from one network are being checked"
    TOO_LATE = "the check took too long"
    CANCELLED = "the check was cancelled"
    FAILED = "the check failed"


NOT_WANTED = {Reason.OFF, Reason.HANDED_OVER, Reason.TRUSTED}
"""These reasons mean that the settings exempt the message from the sender checks.

All other reasons mean that the server was unable to check the message.
"""


class Unchecked(Struct, frozen=True):
    """The result for a message that was not checked, with the reason. `detail` never contains text from the message."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value


SWITCHED_OFF = Unchecked(Reason.OFF)

Findings = Verdicts | Unchecked
"""The result of the sender checks for a message."""


class Ruling(Enum):
    """The decision about a message: accepted, refused or deferred, with the reason."""

    ACCEPTED = auto()
    REFUSED_AS_FORGED = auto()
    """The message fails DMARC, and the policy of the domain in From is `reject`."""
    REFUSED_AS_MALFORMED = auto()
    """The From field names more domains than the server looks up, so a forged domain could be hidden among them."""
    DEFERRED_AS_UNCLEAR = auto()
    """The From field is ambiguous, and the policy of one of its domains is currently unknown."""
    DEFERRED_IN_DOUBT = auto()
    """A DNS failure currently prevents a DMARC result, and the policy of the domain in From may be `reject`."""
    DEFERRED_UNCHECKED = auto()
    """This server was unable to check the message."""


def rule(found: Findings, *, enforces: bool) -> Ruling:
    """Decide whether a message is accepted, refused or deferred. If `enforces` is false, every message is accepted."""
    if not enforces:
        return Ruling.ACCEPTED
    if isinstance(found, Unchecked):
        return Ruling.ACCEPTED if found.reason in NOT_WANTED else Ruling.DEFERRED_UNCHECKED
    dmarc = found.dmarc
    if dmarc.outcome is Outcome.FAIL and dmarc.policy == "reject":
        return Ruling.REFUSED_AS_FORGED
    if dmarc.naming is Naming.TOO_MANY:
        return Ruling.REFUSED_AS_MALFORMED
    if dmarc.outcome is Outcome.TEMPERROR and _may_be_refused(dmarc):
        return Ruling.DEFERRED_AS_UNCLEAR if dmarc.naming is Naming.UNCLEAR else Ruling.DEFERRED_IN_DOUBT
    return Ruling.ACCEPTED


def _may_be_refused(dmarc: Dmarc) -> bool:
    """Return whether the domain's policy may be `reject`.

    If the lookup failed, `policy` is empty, and the real policy may be `reject`.
    """
    return dmarc.policy in {"", "reject"}
