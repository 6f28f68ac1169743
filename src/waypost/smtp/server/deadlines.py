"""The time limits of one SMTP client. Times are in seconds, on the event loop's clock."""

from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.session import Session


class ClientTime:
    """Measures how long one client needs for its commands and messages."""

    __slots__ = ("_heard_at", "_progress", "_progressed_at", "_transfer_at", "_transferred", "_transfers")

    def __init__(self) -> None:
        self._heard_at = 0.0
        """The time when the last bytes arrived from the client."""
        self._progressed_at = 0.0
        """The time from which the time limit for the next command is measured."""
        self._progress = 0
        """The value of `Session.progress` at `_progressed_at`."""
        self._transfer_at = 0.0
        """The time when the message began, plus the seconds that the server has needed for its answers since then."""
        self._transferred = 0
        """The number of bytes that have been received since the message began."""
        self._transfers = 0
        """The value of `Session.transfers` when the message began."""

    def begin(self, now: float) -> None:
        """Start all time limits at the beginning of the session."""
        self._heard_at = self._progressed_at = self._transfer_at = now

    def heard(self, octets: int, now: float) -> None:
        """Record that this number of bytes arrived from the client."""
        self._heard_at = now
        self._transferred += octets

    def server_took(self, seconds: float) -> None:
        """Extend the message's time limit by the number of seconds that the server needed for an answer."""
        self._transfer_at += seconds

    def note_progress(self, session: Session) -> None:
        """After the session has parsed received bytes, restart the time limits that these bytes affect.

        A complete command restarts the limit for commands, and a new message restarts the limit for messages.
        """
        if session.progress != self._progress:
            self._progress = session.progress
            self._progressed_at = self._heard_at
        if session.transfers != self._transfers:
            self._transfers = session.transfers
            self._transfer_at = self._heard_at
            self._transferred = 0

    def answered(self, session: Session, now: float) -> None:
        """Restart the time limit for the next command, because the server has answered all earlier commands."""
        self._heard_at = now
        self.note_progress(session)
        self._progressed_at = now

    def left(self, session: Session, limits: SmtpLimits, *, is_crowded: bool, now: float) -> tuple[float, Reply]:
        """Return the seconds that the client has left, and the reply that ends the session after that time.

        `is_crowded` is true if the server is short of free connections, so that clients get less time for a command.
        """
        if session.is_receiving:
            silent = self._heard_at + limits.silence - now
            slow = self._transfer_at + limits.transfer_time(self._transferred) - now
            return (silent, replies.TIMEOUT) if silent <= slow else (slow, replies.TOO_SLOW)
        command = limits.command_when_crowded if is_crowded else limits.command
        return self._progressed_at + command - now, replies.TIMEOUT
