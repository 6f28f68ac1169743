"""The time limits of one client. Moments are those of the event loop's clock, in seconds."""

from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.session import Session


class ClientTime:
    """The times of one client."""

    __slots__ = ("_heard_at", "_progress", "_progressed_at", "_transfer_at", "_transferred", "_transfers")

    def __init__(self) -> None:
        self._heard_at = 0.0
        """When octets came last."""
        self._progressed_at = 0.0
        """The moment when the time for the next command began."""
        self._progress = 0
        """`Session.progress` at that moment."""
        self._transfer_at = 0.0
        """The moment when the message began, plus the time that the server needed."""
        self._transferred = 0
        """Octets received since."""
        self._transfers = 0
        """`Session.transfers` at that moment."""

    def begin(self, now: float) -> None:
        """The session has begun."""
        self._heard_at = self._progressed_at = self._transfer_at = now

    def heard(self, octets: int, now: float) -> None:
        """Count received octets."""
        self._heard_at = now
        self._transferred += octets

    def server_took(self, seconds: float) -> None:
        """Add the time that the server needed for an answer: it is not the client's."""
        self._transfer_at += seconds

    def note_progress(self, session: Session) -> None:
        """The session has parsed the received octets."""
        if session.progress != self._progress:
            self._progress = session.progress
            self._progressed_at = self._heard_at
        if session.transfers != self._transfers:
            self._transfers = session.transfers
            self._transfer_at = self._heard_at
            self._transferred = 0

    def answered(self, session: Session, now: float) -> None:
        """The server has answered everything: the time for the next command begins."""
        self._heard_at = now
        self.note_progress(session)
        self._progressed_at = now

    def left(self, session: Session, limits: SmtpLimits, *, is_crowded: bool, now: float) -> tuple[float, Reply]:
        """Seconds that the client has, and the reply when they are over.

        `is_crowded`: whether connections are scarce, so that clients get less time for a command.
        """
        if session.is_receiving:
            silent = self._heard_at + limits.silence - now
            slow = self._transfer_at + limits.transfer_time(self._transferred) - now
            return (silent, replies.TIMEOUT) if silent <= slow else (slow, replies.TOO_SLOW)
        command = limits.command_when_crowded if is_crowded else limits.command
        return self._progressed_at + command - now, replies.TIMEOUT
