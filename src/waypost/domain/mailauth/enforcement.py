"""Decides from the results of the sender checks whether a message is accepted, refused, or deferred.

The rule for `enforce`: mail is accepted only where nothing that is still unknown could mean that it has to be refused.
It does not matter whether the unknown is the fault of this server or of somebody else's: a sender can bring about both.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Dmarc, Outcome, Verdicts


class Reason(StrEnum):
    """Why a message was not checked."""

    OFF = "this server checks no senders"
    HANDED_OVER = "a mail server of ours handed it over"
    TRUSTED = "it comes from a trusted network"
    DNS_SILENT = "the DNS does not answer"
    DNS_UNKNOWN = "it is not known yet whether the DNS answers"
    NO_WORKER = "the process that checks messages does not run"
    NO_PLACE = "too many messages are being checked"
    NO_SHARE = "too many messages of one network are being checked"
    TOO_LATE = "the check took too long"
    BROKEN_OFF = "the check was broken off"
    FAILED = "the check failed"


NOT_WANTED = {Reason.OFF, Reason.HANDED_OVER, Reason.TRUSTED}
"""The settings say that such mail is not checked. For all other reasons this server could not check it."""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A message without verdicts, and the reason. `detail` is a text of this program's."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value


SWITCHED_OFF = Unchecked(Reason.OFF)

Findings = Verdicts | Unchecked
"""The result of the checks of a message's sender."""


class Ruling(Enum):
    """What becomes of a message."""

    ACCEPTED = auto()
    REFUSED_AS_FORGED = auto()
    """The owner of the domain in From asks for that (DMARC)."""
    REFUSED_AS_MALFORMED = auto()
    """From names more domains than are looked up, and could hide one behind others."""
    DEFERRED_AS_UNCLEAR = auto()
    """From is unclear, and the policy of a domain in it is not known now."""
    DEFERRED_IN_DOUBT = auto()
    """The DNS does not answer now, so the policy of the domain in From is not known."""
    DEFERRED_UNCHECKED = auto()
    """This server could not check it now."""


def rule(found: Findings, *, enforces: bool) -> Ruling:
    """What becomes of a message. Where DMARC is not enforced, every message is accepted."""
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
    """Whether the owner may want it refused. No policy means that it could not be looked up."""
    return dmarc.policy in {"", "reject"}
