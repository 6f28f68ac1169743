"""How long a client may take, and how much of the server it may have. Times are in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpLimits:
    """The limits of one server; the defaults are for a server on the open internet."""

    connections: int = 15_000
    """At once."""
    connections_each: int = 100
    """At once from one address, or one /64 network with IPv6."""
    new_connections_a_minute: float = 0
    """From one address; zero for no bound. As many may come at once."""
    messages_a_minute: float = 0
    """Likewise, counted as they begin."""
    memory: int = 128 * 1024 * 1024
    """Octets of input and messages in flight. From half of it on they are put on disk sooner; with all of it in use
    no message begins."""
    command: float = 300.0
    """To the end of each command (RFC 5321 section 4.5.3.2.7)."""
    command_when_crowded: float = 10.0
    """The same, when three quarters of the connections are in use."""
    silence: float = 180.0
    """Between octets of a message (RFC 5321 section 4.5.3.2.5)."""
    transfer: float = 3600.0
    """For one message."""
    transfer_start: float = 60.0
    """For one message of which nothing has come yet; what comes buys more time."""
    slowest: float = 500.0
    """Octets a second that buy it."""
    handshake: float = 30.0
    """For TLS, or the header of the PROXY protocol."""
    greeting_delay: float = 0.0
    """Before the greeting; a client that sends anything earlier is sent away."""
    linger: float = 2.0
    """For a client whose session the server has ended, to read why."""

    def transfer_time(self, octets: int) -> float:
        """How long a message of which so many octets have come may take by then."""
        return min(self.transfer, self.transfer_start + octets / self.slowest)
