"""Limits of one SMTP server: times, connections, rates and memory. Times are in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpLimits:
    """The limits of one server; the defaults are for a server on the open internet."""

    connections: int = 15_000
    """At once."""
    connections_each: int = 100
    """Connections at the same time from one address, or one /64 network with IPv6."""
    new_connections_a_minute: float = 0
    """New connections a minute from one address; zero for no limit. As many may come at once."""
    messages_a_minute: float = 0
    """Likewise, counted as they begin."""
    memory: int = 128 * 1024 * 1024
    """Memory for input and messages in flight, in octets. When half is in use, messages go to disk sooner; when all is
    in use, no message begins."""
    command: float = 300.0
    """Seconds until the end of each command (RFC 5321 section 4.5.3.2.7)."""
    command_when_crowded: float = 10.0
    """The same, while three quarters of the connections are in use."""
    silence: float = 180.0
    """Seconds between octets of a message (RFC 5321 section 4.5.3.2.5)."""
    transfer: float = 3600.0
    """For one message."""
    transfer_start: float = 60.0
    """Seconds for a message of which nothing was received yet; octets that arrive add time."""
    slowest: float = 500.0
    """Octets that add one second."""
    handshake: float = 30.0
    """Seconds for the TLS handshake, or the header of the PROXY protocol."""
    greeting_delay: float = 0.0
    """Delay of the greeting; a client that sends anything before it is refused."""
    linger: float = 2.0
    """Seconds for a client to read the last reply of its session."""

    def transfer_time(self, octets: int) -> float:
        """Seconds that a message may have taken when this many octets were received."""
        return min(self.transfer, self.transfer_start + octets / self.slowest)
