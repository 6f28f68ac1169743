"""The time, connection, rate and memory limits of one SMTP server. Times are in seconds."""

from msgspec import Struct


class SmtpLimits(Struct, frozen=True, kw_only=True):
    """The limits of one SMTP server. The defaults suit a server on the public internet."""

    connections: int = 15_000
    """The maximum number of open connections."""
    connections_each: int = 100
    """The maximum number of open connections from one IPv4 address, or from one IPv6 /64 network."""
    new_connections_a_minute: float = 0
    """The maximum number of new connections per minute from one address. They may all arrive in one burst. Zero means
    no limit.
    """
    messages_a_minute: float = 0
    """The maximum number of new messages per minute from one address. A message is counted when it begins. Zero means
    no limit.
    """
    memory: int = 128 * 1024 * 1024
    """The maximum memory, in bytes, for unparsed input and for messages that are not yet on disk.

    When half of this memory is in use, messages are written to disk earlier than usual. When all of this memory is in
    use, the server refuses new messages."""
    command: float = 300.0
    """The time limit, in seconds, for a client to send each complete command (RFC 5321 section 4.5.3.2.7)."""
    command_when_crowded: float = 10.0
    """The time limit, in seconds, for each complete command while more than three quarters of the connections are in
    use."""
    silence: float = 180.0
    """The maximum number of seconds that a client may pause while it sends a message (RFC 5321 section 4.5.3.2.5)."""
    transfer: float = 3600.0
    """The maximum duration of the transfer of one message, in seconds."""
    transfer_start: float = 60.0
    """The initial time limit, in seconds, for the transfer of a message. Received bytes extend this limit."""
    slowest: float = 500.0
    """The number of received bytes that add one second to the time limit of a transfer."""
    handshake: float = 30.0
    """The time limit, in seconds, for a client's TLS handshake, and for a load balancer's PROXY header."""
    greeting_delay: float = 0.0
    """The number of seconds by which the greeting is delayed. A client that sends data before the greeting is
    refused."""
    linger: float = 2.0
    """The time limit, in seconds, for a client to read the last reply of its session."""

    def transfer_time(self, octets: int) -> float:
        """Return the time limit, in seconds, for a transfer of which this many bytes have been received so far."""
        return min(self.transfer, self.transfer_start + octets / self.slowest)
