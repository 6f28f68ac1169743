"""One connection to a peer: moves octets between the socket and the dialogue, speaks TLS, and watches the time."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import cast

from waypost.delivery.smtp_client.protocol.commands import Part
from waypost.delivery.smtp_client.protocol.dialogue import Dialogue, Manners, Need
from waypost.domain.mail.delivery import AttemptResult, Stage, Trouble
from waypost.net.host_names import why_no_address
from waypost.net.tls_alerts import start_tls

TRANSACTIONS = 100
"""Parcels that go over one connection."""

UNSENT = 256 * 1024
"""Octets that wait for the peer to read, before no more are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a peer may take, in seconds (RFC 5321 section 4.5.3.2)."""

    connect: float = 30.0
    """Also for the DNS, and for the handshake."""
    greeting: float = 60.0
    command: float = 60.0
    data: float = 180.0
    """To read some of the message."""
    end: float = 600.0
    """To say what it does with the message."""
    idle: float = 10.0
    """For which a connection is kept."""
    goodbye: float = 1.0
    """For a connection to be closed in peace."""

    def of(self, need: Need, stage: Stage) -> float:
        """For what is waited for at this stage."""
        if need is Need.OCTETS or stage is Stage.BODY:
            return self.data
        return {Stage.GREETING: self.greeting, Stage.END: self.end}.get(stage, self.command)


class Connection(asyncio.Protocol):
    """A connection, from when it is made until it is lost."""

    def __init__(self, manners: Manners, *, host: str, timeouts: Timeouts, context: ssl.SSLContext) -> None:
        self.dialogue = Dialogue(manners)
        self._manners = manners
        self._host = host
        self._timeouts = timeouts
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_full = self._is_shaking_hands = False
        self._within_tls: bytes | None = None
        """What the peer says right behind the handshake, before it is known that it was made."""
        self._unsent = 0
        self.kept: asyncio.TimerHandle | None = None
        """Ends it, while it waits for the next parcel."""
        self.lost = self._loop.create_future()

    @property
    def is_usable(self) -> bool:
        """Whether another parcel can go over it."""
        return not (self.dialogue.is_over or self.lost.done() or self.dialogue.transactions >= TRANSACTIONS)

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNSENT)

    def data_received(self, data: bytes) -> None:
        """The peer says something."""
        if self._within_tls is not None:
            self._within_tls += data
            return
        dialogue = self.dialogue
        before = dialogue.heard
        dialogue.receive(data)
        if dialogue.need is Need.TLS and self._transport:
            self._transport.pause_reading()  # what comes now is for whoever makes the handshake
        if dialogue.heard != before or dialogue.need is Need.NOTHING:  # half a reply buys no time
            self._wake()
        if self.kept and dialogue.is_over:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if not self.lost.done():
            self.lost.set_result(None)
        if not self._is_shaking_hands:  # that tells why it failed
            self.dialogue.fail(Trouble.DISCONNECTED, why(exc) if exc else "the peer closed the connection")
        self._wake()

    def pause_writing(self) -> None:
        """The peer does not read as fast as we write."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._is_full = False
        self._wake()

    # What we do

    async def converse(self, parts: AsyncGenerator[Part, None] | None = None) -> AttemptResult | None:
        """Go on until the dialogue needs nothing more. Returns its result."""
        dialogue = self.dialogue
        try:
            while dialogue.need is not Need.NOTHING:
                self._flush()
                if dialogue.need is Need.TLS:
                    await self._shake_hands()
                elif dialogue.need is Need.REPLY or self._is_full:
                    await self._wait(self._timeouts.of(dialogue.need, dialogue.stage))
                else:
                    assert parts
                    await self._hand_on(parts)
            self._flush()
        except BaseException:
            self.abort()
            raise
        if dialogue.is_over:
            self.abort()
        return dialogue.result

    def keep(self, seconds: float, ended: Callable[[], None]) -> None:
        """Wait for the next parcel for so long."""
        self.kept = self._loop.call_later(seconds, ended)

    def take(self) -> None:
        """Wait no longer."""
        if self.kept:
            self.kept.cancel()
            self.kept = None

    def close(self) -> None:
        """Say goodbye and go. The answer is not waited for."""
        self.take()
        self.dialogue.quit()
        self._flush()
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Go."""
        self.take()
        self.dialogue.is_over = True
        if self._transport:
            self._transport.abort()

    async def _hand_on(self, parts: AsyncGenerator[Part, None]) -> None:
        dialogue = self.dialogue
        try:
            part = await anext(parts)
        except Exception as error:  # noqa: BLE001 - it is our store, and the peer must not wait for what does not come
            dialogue.fail(Trouble.FAILED, f"the message cannot be read: {type(error).__name__}: {error}")
            return
        if dialogue.need is Need.OCTETS:  # the peer may have gone, or said no, in between
            dialogue.give(part)

    def _flush(self) -> None:
        octets = self.dialogue.output()
        if octets and self._transport and not self._transport.is_closing():
            self._transport.write(octets)

    async def _wait(self, seconds: float) -> None:
        """Wait until something has happened, or it took too long."""
        self._waiter = self._loop.create_future()
        self._unsent = self._transport.get_write_buffer_size() if self._transport else 0
        timer = self._loop.call_later(seconds, self._time_is_over, seconds)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _time_is_over(self, seconds: float) -> None:
        is_slow = self._transport and self._transport.get_write_buffer_size() < self._unsent
        if not (is_slow and self.dialogue.need is Need.OCTETS):  # else it reads, if slowly
            self.dialogue.fail(Trouble.TIMEOUT, f"nothing came for {seconds:g} seconds")
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def _shake_hands(self) -> None:
        assert self._transport
        seconds, grace = self._timeouts.connect, self._timeouts.goodbye
        self._is_shaking_hands = True
        upgrade = self._loop.create_task(
            start_tls(
                self._transport,
                self,
                self._context,
                server_hostname=self._host,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=grace,
            )
        )
        try:
            await asyncio.sleep(0)  # in its first step it takes the transport over
            self._within_tls = b""
            # The loop bounds the handshake, but not where the peer is gone before it has begun.
            await asyncio.wait([upgrade, self.lost], timeout=seconds + grace, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([upgrade], timeout=grace)
        finally:
            self._is_shaking_hands = False
            if not upgrade.done():
                upgrade.cancel()
                await asyncio.wait([upgrade])
        said, self._within_tls = self._within_tls or b"", None
        error = ConnectionResetError() if upgrade.cancelled() else upgrade.exception()
        transport = None if error else upgrade.result()
        spoken = transport.get_extra_info("ssl_object") if transport else None
        if transport and spoken and self.dialogue.need is Need.TLS:
            self._transport = transport
            transport.set_write_buffer_limits(high=UNSENT)
            is_verified = self._context.verify_mode is ssl.CERT_REQUIRED
            unverified = "" if is_verified else ", certificate not verified"
            self.dialogue.tls_started(f"{spoken.version()} {spoken.cipher()[0]}{unverified}")
            self.data_received(said)
            if self.lost.done():
                self.connection_lost(None)
        else:
            self.dialogue.fail(Trouble.BAD_TLS, f"no TLS with the peer: {why(error)}")


def why(error: BaseException | None) -> str:
    """Why something failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        return why_no_address(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ConnectionResetError) and not error.strerror:
        return "the connection was closed"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)  # asyncio has words of its own
    return str(error) or type(error).__name__
