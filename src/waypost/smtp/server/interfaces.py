"""The interfaces between a connection and its server, and the properties of a listener."""

from typing import Protocol

from msgspec import Struct

from waypost.net.certificates import Certificates
from waypost.smtp.backend.backend import Backend
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.protocol.replies import Reply


class Listener(Struct, frozen=True, kw_only=True):
    """The protocol and options of one address on which the server listens."""

    name: str
    capabilities: Capabilities
    is_tls: bool = False
    """Whether a connection begins with the TLS handshake (RFC 8314 section 3)."""
    trusted: bool = False
    """Whether only the operator's own mail servers connect to this listener.

    Rate limits, the delayed greeting and the PROXY header do not apply to clients of a trusted listener. SPF, DKIM and
    DMARC are not checked for mail from a trusted listener.
    """


class Client(Protocol):
    """The part of a connection's interface that the server uses."""

    peer: str
    """The client's IP address."""
    trusted: bool
    """Whether the client connected to a listener that is `trusted`."""
    listener: Listener

    @property
    def state(self) -> str:
        """The state of the session, for the metrics."""
        ...

    def end_session(self, reply: Reply) -> None:
        """End the session with this reply. If the server is working on an answer, the client gets the answer first.

        A TLS handshake in progress is cancelled.
        """
        ...


class Server(Protocol):
    """The part of the server's interface that a connection uses."""

    limits: SmtpLimits
    backend: Backend
    certificates: Certificates | None
    busy: int
    """The number of clients whose requests the server is answering now."""
    buffer: memoryview
    """The buffer into which the data from all clients is read."""

    def opened(self, client: Client) -> Reply | None:
        """Register a new client. Returns the reply that refuses the client, or None if the client is admitted."""
        ...

    def closed(self, client: Client, *, was_admitted: bool) -> None:
        """Remove a client whose connection has ended."""
        ...

    def session_ended(self, peer: str, reply: Reply, last_error: Reply | None = None) -> None:
        """Log that the server has ended a client's session. `reply` gives the reason."""
        ...

    def tls_failed(self, peer: str, error: BaseException) -> None:
        """Log that a TLS handshake, or an established TLS connection, failed."""
        ...

    def tls_made(self, version: str) -> None:
        """Count a TLS handshake that succeeded. `version` is the version of TLS."""
        ...

    def trusts(self, peer: str) -> bool:
        """Return whether this IP address of a client is in a network that a setting lists as trusted."""
        ...
