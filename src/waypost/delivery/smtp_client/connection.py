"""One connection to a peer: it moves bytes between the socket and the dialogue, and enforces the time limits."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from typing import cast

from msgspec import Struct

from waypost.delivery.smtp_client.protocol.commands import Part
from waypost.delivery.smtp_client.protocol.dialogue import Dialogue, Need, SessionOptions
from waypost.domain.mail.delivery import AttemptResult, Stage, Trouble
from waypost.net.deadlines import Deadline
from waypost.net.host_names import why_no_address
from waypost.net.tls_upgrade import TlsUpgrade, Upgraded, describe

TRANSACTIONS = 100
"""The maximum number of parcels that are sent over one connection."""

UNSENT = 256 * 1024
"""The maximum number of unsent bytes in the write buffer. While the buffer holds more bytes than this, no further part
of the message is read.
"""


class Timeouts(Struct, frozen=True, kw_only=True):
    """The time limits for a peer, in seconds.

    The limits for the message and for the reply to it come from RFC 5321 section 4.5.3.2. The limits for the greeting
    and for commands are shorter than in the RFC.
    """

    connect: float = 30.0
    """Seconds to connect. The address lookup and the TLS handshake each have the same limit."""
    greeting: float = 60.0
    command: float = 60.0
    data: float = 180.0
    """Seconds within which the peer must read more of the message."""
    end: float = 600.0
    """Seconds within which the peer must reply to the whole message."""
    idle: float = 10.0
    """Seconds that an idle connection is kept open for the next parcel."""
    goodbye: float = 1.0
    """Seconds to wait for a connection to close cleanly before it is aborted."""

    def of(self, need: Need, stage: Stage) -> float:
        """Return the time limit, in seconds, for the input that the dialogue needs at this stage."""
        if need is Need.OCTETS or stage is Stage.BODY:
            return self.data
        return {Stage.GREETING: self.greeting, Stage.END: self.end}.get(stage, self.command)


class Connection(asyncio.Protocol):
    """A connection to a peer, from the time when the connection is established until it is lost."""

    def __init__(self, options: SessionOptions, *, host: str, timeouts: Timeouts, context: ssl.SSLContext) -> None:
        self.dialogue = Dialogue(options)
        self._options = options
        self._host = host
        self._timeouts = timeouts
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = Deadline()
        """The deadline for the peer's next action."""
        self._is_full = False
        self._upgrade: TlsUpgrade | None = None
        """The TLS handshake that is in progress; None if there is none."""
        self._unsent = 0
        self.kept = Deadline()
        """The time at which an idle connection is closed; set only while the connection waits for the next parcel."""
        self.lost = self._loop.create_future()

    @property
    def is_usable(self) -> bool:
        """Whether another parcel can be sent over the connection."""
        return not (self.dialogue.is_over or self.lost.done() or self.dialogue.transactions >= TRANSACTIONS)

    # Events from asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport of the established connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNSENT)

    def data_received(self, data: bytes) -> None:
        """Process data from the peer."""
        if self._upgrade:
            self._upgrade.receive(data)
            return
        dialogue = self.dialogue
        before = dialogue.heard
        dialogue.receive(data)
        if dialogue.need is Need.TLS and self._transport:
            self._transport.pause_reading()  # the TLS handshake must get all further data
        if dialogue.heard != before or dialogue.need is Need.NOTHING:  # half a reply does not extend the deadline
            self._continue()
        if self.kept.is_set and dialogue.is_over:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the dialogue, or the TLS handshake, because the connection was lost."""
        if not self.lost.done():
            self.lost.set_result(None)
        if self._upgrade:
            self._upgrade.connection_lost()
        else:
            self.dialogue.fail(Trouble.DISCONNECTED, why(exc) if exc else "the peer closed the connection")
        self._wake()

    def pause_writing(self) -> None:
        """Stop writing, because the peer does not read as fast as this side writes."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Resume writing: the peer has read most of the buffered data."""
        self._is_full = False
        self._wake()

    # Operations

    async def converse(self, parts: AsyncGenerator[Part, None] | None = None) -> AttemptResult | None:
        """Continue the dialogue until it needs no more input. Returns the dialogue's result."""
        dialogue = self.dialogue
        try:
            while dialogue.need is not Need.NOTHING:
                self._flush()
                if dialogue.need is Need.TLS:
                    await self._start_tls()
                elif dialogue.need is Need.REPLY or self._is_full:
                    await self._wait()
                else:
                    assert parts
                    await self._give_next_part(parts)
            self._flush()
        except BaseException:
            self.abort()
            raise
        if dialogue.is_over:
            self.abort()
        return dialogue.result

    def keep(self, seconds: float, ended: Callable[[], None]) -> None:
        """Keep the idle connection open for the next parcel. If the connection is not used within `seconds`, call
        `ended`.
        """
        self.kept.set(self._loop, seconds, ended)

    def take(self) -> None:
        """Stop the timer that closes an idle connection, because the connection is now being used or closed."""
        self.kept.clear()

    def close(self) -> None:
        """Send QUIT and close the connection without waiting for the reply."""
        self.take()
        self.dialogue.quit()
        self._flush()
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection immediately."""
        self.take()
        self.dialogue.is_over = True
        if self._transport:
            self._transport.abort()

    async def _give_next_part(self, parts: AsyncGenerator[Part, None]) -> None:
        dialogue = self.dialogue
        try:
            part = await anext(parts)
        except Exception as error:  # noqa: BLE001 - the peer must not wait if the store fails
            dialogue.fail(Trouble.FAILED, f"the message is unreadable: {type(error).__name__}: {error}")
            return
        if dialogue.need is Need.OCTETS:  # the peer may meanwhile have replied or disconnected
            dialogue.give(part)

    def _flush(self) -> None:
        octets = self.dialogue.output()
        if octets and self._transport and not self._transport.is_closing():
            self._transport.write(octets)

    def _continue(self) -> None:
        """Continue after a reply: send what the dialogue sends next, or wake the task that waits for the dialogue."""
        if self._waiter and self.dialogue.need is Need.REPLY and not self._is_full:
            self._flush()  # the task would do the same, and wait again
            self._set_deadline()
        else:
            self._wake()

    async def _wait(self) -> None:
        """Wait until the dialogue needs something else than a reply, until the peer reads more data or disconnects, or
        until the time limit is reached.
        """
        self._waiter = self._loop.create_future()
        self._set_deadline()
        try:
            await self._waiter
        finally:
            self._deadline.clear()
            self._waiter = None

    def _set_deadline(self) -> None:
        """Set the deadline for the peer's next action."""
        seconds = self._timeouts.of(self.dialogue.need, self.dialogue.stage)
        self._unsent = self._transport.get_write_buffer_size() if self._transport else 0
        self._deadline.set(self._loop, seconds, self._time_is_over, seconds)

    def _time_is_over(self, seconds: float) -> None:
        is_slow = self._transport and self._transport.get_write_buffer_size() < self._unsent
        if not (is_slow and self.dialogue.need is Need.OCTETS):  # otherwise the peer still reads, but slowly
            self.dialogue.fail(Trouble.TIMEOUT, f"the peer did not respond within {seconds:g} seconds")
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def _start_tls(self) -> None:
        assert self._transport
        seconds, grace = self._timeouts.connect, self._timeouts.goodbye
        upgrade = self._upgrade = TlsUpgrade(self._transport, loop=self._loop, grace=grace)
        try:
            made = await upgrade.make(self, self._context, seconds=seconds, server_hostname=self._host)
        finally:
            self._upgrade = None
        if made and self.dialogue.need is Need.TLS:
            self._tls_started(made)
        else:
            self.dialogue.fail(
                Trouble.BAD_TLS, f"the TLS handshake failed: {why(upgrade.error or ConnectionResetError())}"
            )

    def _tls_started(self, made: Upgraded) -> None:
        self._transport = made.transport
        self._transport.set_write_buffer_limits(high=UNSENT)
        is_verified = self._context.verify_mode is ssl.CERT_REQUIRED
        self.dialogue.tls_started(describe(made.tls) + ("" if is_verified else ", certificate not verified"))
        self.data_received(made.said)
        if self.lost.done():
            self.connection_lost(None)


def why(error: BaseException | None) -> str:
    """Describe in words why a connection to a peer failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was rejected: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        return why_no_address(error)
    if isinstance(error, TimeoutError):
        return "it timed out"
    if isinstance(error, ConnectionResetError) and not error.strerror:
        return "the connection was closed"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's own message is worded differently
    return str(error) or type(error).__name__
