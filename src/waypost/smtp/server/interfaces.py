"""The interfaces of a connection and its server to each other, and the properties of a listener."""

from dataclasses import dataclass
from typing import Protocol

from waypost.smtp.backend.reception import Backend
from waypost.smtp.limits.timeouts import SmtpLimits
from waypost.smtp.protocol.capabilities import Capabilities
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.server.tls import Certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """The protocol at one address that the server listens on."""

    name: str
    capabilities: Capabilities
    is_tls: bool = False
    """Whether a connection begins with the handshake (RFC 8314 section 3)."""
    trusted: bool = False
    """Whether only the operator's own mail servers connect here. They are not limited and not checked: no delay of the
    greeting, no PROXY header, no rates, no SPF, DKIM or DMARC."""


class Client(Protocol):
    """What a server needs of a connection."""

    peer: str
    """The client's IP address."""
    trusted: bool
    """Whether it came over a listener that is `trusted`."""

    def hang_up(self, reply: Reply) -> None:
        """End the session with this reply; if an answer is under way, after it. A handshake is not waited for."""
        ...


class Server(Protocol):
    """What a connection needs of the server that it belongs to."""

    limits: SmtpLimits
    backend: Backend
    certificates: Certificates | None
    busy: int
    """Clients whose requests are being answered."""
    buffer: memoryview
    """What a client sends is read into it."""

    def opened(self, client: Client) -> Reply | None:
        """A client has connected. Returns why it may not stay, or None."""
        ...

    def closed(self, client: Client, *, was_admitted: bool) -> None:
        """A connection has ended, and its resources are released."""
        ...

    def hung_up(self, peer: str, reply: Reply, last_error: Reply | None = None) -> None:
        """The server has ended a client's session, for the reason in the reply."""
        ...

    def tls_failed(self, peer: str, error: BaseException) -> None:
        """A handshake failed, or TLS did later."""
        ...

    def trusts(self, peer: str) -> bool:
        """Whether a setting names the network of this client."""
        ...
