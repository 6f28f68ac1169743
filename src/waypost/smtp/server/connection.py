"""One client's connection: moves octets between the socket and the session, and closes the connection when its time is
over.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import cast

from waypost.net.deadlines import Deadline
from waypost.net.tls_upgrade import TlsUpgrade, describe
from waypost.smtp.backend.reception import Reception
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import MessageReceived, PieceReceived, Request, TlsWanted
from waypost.smtp.protocol.session import Session
from waypost.smtp.server.deadlines import ClientTime
from waypost.smtp.server.interfaces import Listener, Server

PAUSE_AT = 64 * 1024
"""Octets that are received in advance before reading stops."""

READ = 64 * 1024
"""Octets that are read from a client at once."""

SCARCE_READ = 2 * 1024
"""The same, when memory is scarce."""

UNREAD = 64 * 1024
"""Octets of unread replies after which the server stops reading from a client."""

REQUESTS_A_TURN = 50
"""Requests and commands of all clients together in one turn of the loop: the more clients are busy, the fewer each has.
New clients are accepted once a turn."""

LOOK_EVERY = 15.0
"""Seconds between two looks at the clock for a client that says nothing: time gets short when many connect."""


class Connection(asyncio.BufferedProtocol):
    """One client. It is admitted or refused, then comes the handshake or the greeting, and then the session."""

    def __init__(self, server: Server, listener: Listener) -> None:
        self._server = server
        self._memory = server.backend.memory
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._answering: asyncio.Task[None] | None = None
        self._farewell: Reply | None = None
        self._client_is_done = False
        self._is_write_paused = False
        """Whether the client does not read its replies."""
        self._is_admitted = False
        self._is_lost = False
        self._deadline = Deadline()
        """Called when the client does not continue in time."""
        self._time = ClientTime()
        self._can_speak = not listener.is_tls
        """Whether the client would understand a reply: on a TLS listener not before the handshake."""
        self._upgrade: TlsUpgrade | None = None
        """The running handshake."""
        self._resumed: asyncio.Future[None] | None = None
        """Done when a client that had not read its replies does so, or is gone."""
        self._pausing: asyncio.Future[None] | None = None
        """The delay of a reply to a client that guesses addresses."""
        self._write_paused_at = 0.0
        self._held = 0
        """Octets that are counted in the server's memory."""
        self.peer = ""
        """The client's IP address."""
        self.trusted = listener.trusted
        self._in_trusted_network = False

    # What the loop tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        if name is None:  # the client is gone before we could ask who it was
            cast(asyncio.Transport, transport).abort()
            self._is_lost = True
            return
        self.begin(cast(asyncio.Transport, transport), name[0])

    def begin(self, transport: asyncio.Transport, peer: str, *, can_be_trusted: bool = True) -> None:
        """The client's address is known: admit the client, or refuse it.

        `can_be_trusted`: false if the address may be that of a load balancer that did not name its client.
        """
        self._transport = self._under_tls = transport
        self.peer = peer.removeprefix("::ffff:")  # IPv4 on a socket for both
        self._in_trusted_network = not self.trusted and can_be_trusted and self._server.trusts(self.peer)
        refusal = self._server.opened(self)
        if refusal:
            self._send_away(refusal)
            return
        self._is_admitted = True
        if self._listener.is_tls:
            self._upgrade = self._an_upgrade()
            self._answering = self._loop.create_task(self._begin_with_tls())
        else:
            self._greet()

    def get_buffer(self, sizehint: int) -> memoryview:
        # One for all clients: it is filled and read out in one go. While memory is scarce, less is read at once.
        return self._server.buffer[:SCARCE_READ] if self._memory.is_scarce else self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(bytes(self._server.buffer[:nbytes]))

    def _receive(self, data: bytes) -> None:
        session = self._session
        if self._upgrade is not None:
            self._upgrade.receive(data)
            return
        if session is None:
            self._send_away(replies.EARLY_TALKER)
            return
        if session.farewell:
            return
        self._time.heard(len(data), self._loop.time())
        session.receive(data)
        if self._answering is None:
            self._go_on(session)
        if self._held or session.is_receiving or self._answering is not None:
            self._account(session)
        if self._answering is not None and (session.waiting_octets > PAUSE_AT or self._memory.is_full):
            self._pause()

    def eof_received(self) -> bool:
        # A client may send all it has and close its side; it still gets its answers. TLS has no half of a connection.
        self._client_is_done = True
        if self._upgrade is not None and self._upgrade.has_transport:
            return False
        if self._answering is None and not self._transport.get_write_buffer_size():
            return False  # nothing is left to be said; thousands may go at once, so this is short
        if self._answering is None:
            self._close()
        return self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self._deadline.clear()
        if self._upgrade:
            self._upgrade.connection_lost()
        self._wake()
        self._end_pause()
        is_over = self._session is not None and self._session.farewell is not None
        if isinstance(exc, ssl.SSLError) and self._upgrade is None and not is_over:
            self._server.tls_failed(self.peer, exc)
        if self._answering is None:
            self._end()
        else:
            self._clearing = self._loop.create_task(self._clear_away())

    def pause_writing(self) -> None:
        # A client that does not read its replies gets to send no more commands.
        self._is_write_paused = True
        self._write_paused_at = self._loop.time()
        self._pause()
        if self._session and not self._session.farewell:
            seconds = min(self._server.limits.silence, LOOK_EVERY)
            self._deadline.set(self._loop, seconds, self._look_at_the_clock)

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._wake()
        if self._answering is None:
            self._resume()

    def hang_up(self, reply: Reply) -> None:
        """End the session with this reply; if an answer is under way, after it. A handshake is not waited for."""
        if self._upgrade is not None:
            self._upgrade.cancel()
        elif self._session is None:
            self._transport.abort()
        elif self._answering is not None:
            self._farewell = reply
            self._end_pause()
        elif not self._session.farewell:
            self._session.close(reply)
            self._send(self._session)

    # Before the session

    def _send_away(self, reply: Reply) -> None:
        if not self._transport.is_closing() and self._can_speak:
            self._transport.write(bytes(reply))
        self._close()
        if self._is_admitted:
            self._server.hung_up(self.peer, reply)

    def _an_upgrade(self) -> TlsUpgrade:
        return TlsUpgrade(self._transport, loop=self._loop, grace=self._server.limits.linger)

    async def _begin_with_tls(self) -> None:
        assert self._upgrade
        made = await self._make_tls(self._upgrade)
        self._answering = None
        if made:
            self._can_speak = True
            version, said = made
            self._greet(version)
            if said:
                self._receive(said)

    async def _make_tls(self, upgrade: TlsUpgrade) -> tuple[str, bytes] | None:
        """Make the handshake. Returns version and cipher, and what was said in TLS by then; None if it failed."""
        assert self._server.certificates
        if self._is_lost or self._transport.is_closing():
            self._upgrade = None
            return None
        context, seconds = self._server.certificates.context, self._server.limits.handshake
        made = await upgrade.make(self, context, seconds=seconds, server_side=True)
        self._upgrade = None
        if made is None:  # it failed, or one of us has gone meanwhile
            if upgrade.error:
                self._server.tls_failed(self.peer, upgrade.error)
            self._transport.abort()
            self.connection_lost(None)
            return None
        self._transport = made.transport
        self._transport.set_write_buffer_limits(high=UNREAD)  # by default a TLS transport has eight times as much
        return describe(made.tls), made.said

    def _greet(self, version: str = "") -> None:
        delay = self._server.limits.greeting_delay
        if delay and not self.trusted:
            self._deadline.set(self._loop, delay, self._open, version)
        else:
            self._open(version)

    def _open(self, version: str) -> None:
        if self._is_lost:
            return
        self._reception = Reception(
            self._server.backend, peer=self.peer, trusted=self.trusted, in_trusted_network=self._in_trusted_network
        )
        session = Session(
            self._listener.capabilities,
            peer=self.peer,
            gate=self._reception,
            tls=version,
            is_trusted=self._in_trusted_network,
        )
        self._session = session
        self._time.begin(self._loop.time())
        self._look_at_the_clock()
        self._send(session)

    # The session

    def _go_on(self, session: Session) -> None:
        """Serve what has been received, up to the first request of the session."""
        try:
            request = self._next_request(session)
        except Exception as error:  # noqa: BLE001 - a bug in the session; the mail stays with the sender
            session.close(self._server.backend.failed(error))
            request = None
        self._time.note_progress(session)
        if request is None and not session.has_more:
            self._send(session)
        else:
            self._answering = self._loop.create_task(self._answer(session, request))

    async def _answer(self, session: Session, request: Request | None) -> None:
        """Get the answer to this request, and serve the other received octets, a turn at a time."""
        answered = 0
        self._server.busy += 1
        try:
            while request is not None or session.has_more:
                asked_at = self._loop.time()
                if isinstance(request, TlsWanted):
                    await self._start_tls(session)
                elif request is not None:
                    session.answer(await self._reception.answer(request, self._pause_before_reply))
                    answered += 1
                if self._farewell or self._is_lost:  # the client would not hear the answers to what else has come
                    session.close(self._farewell or replies.BYE)
                if isinstance(request, (MessageReceived, PieceReceived)):
                    self._time.server_took(self._loop.time() - asked_at)
                    self._account(session)
                    self._flush(session)  # a client that has waited for the disk does not wait for the next message too
                if request is None or answered >= REQUESTS_A_TURN // self._server.busy:
                    answered = 0
                    self._flush(session)
                    await asyncio.sleep(0)
                if self._is_write_paused and not self._is_lost:  # replies that it does not read would be kept
                    self._resumed = self._loop.create_future()
                    await self._resumed
                request = self._next_request(session)
        except Exception as error:  # noqa: BLE001 - as above
            session.close(self._server.backend.failed(error))
        finally:
            self._server.busy -= 1
        self._answering = None
        self._time.answered(session, self._loop.time())
        self._account(session)
        self._resume()
        self._send(session)

    async def _pause_before_reply(self, seconds: float) -> None:
        """Delay the next reply, unless the client goes or the server stops. Others are served meanwhile."""
        if self._is_lost or self._farewell:
            return
        assert self._session
        self._flush(self._session)  # earlier replies are not held back
        self._pausing = self._loop.create_future()
        pause = Deadline()
        pause.set(self._loop, seconds, self._end_pause)
        self._server.busy -= 1
        try:
            await self._pausing
        finally:
            self._server.busy += 1
            pause.clear()
            self._pausing = None

    def _end_pause(self) -> None:
        if self._pausing and not self._pausing.done():
            self._pausing.set_result(None)

    def _next_request(self, session: Session) -> Request | None:
        if self._held and self._memory.is_scarce:
            session.spill()
        return session.next_request(max(2, REQUESTS_A_TURN // (self._server.busy + 1)))

    async def _start_tls(self, session: Session) -> None:
        self._pause()  # what the client answers to the 220 is for whoever makes the handshake
        self._flush(session)
        self._upgrade = self._an_upgrade()
        made = await self._make_tls(self._upgrade)
        if made:
            version, said = made
            session.tls_started(version)
            session.receive(said)
        else:
            session.close(replies.BYE)

    def _account(self, session: Session) -> None:
        """Count the memory of this client now."""
        held = 0 if self._is_lost else session.held_octets
        if held != self._held:
            self._memory.change(held - self._held)
            self._held = held

    def _wake(self) -> None:
        """Continue with a client that reads its replies again, or is gone."""
        if self._resumed and not self._resumed.done():
            self._resumed.set_result(None)

    def _pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not (self._is_write_paused or self._transport.is_closing()):
            self._transport.resume_reading()

    def _send(self, session: Session) -> None:
        """Send the replies so far; close the connection if the session is over, or the client has sent EOF."""
        self._flush(session)
        if self._transport.is_closing():
            return
        if session.farewell:
            self._hang_up_on(session.farewell)
        elif self._client_is_done:
            self._close()

    def _flush(self, session: Session) -> None:
        output = session.output()
        if output and not self._transport.is_closing():
            self._transport.write(output)

    # The end

    def _hang_up_on(self, farewell: Reply) -> None:
        if farewell is replies.BYE or self._client_is_done:
            self._close()
            return
        self._server.hung_up(self.peer, farewell, self._session.last_error if self._session else None)
        if not self._transport.can_write_eof():
            self._close()
            return
        # Closing at once, with octets unread, would make the system send a reset, and the client might never see
        # our reply. So we end our side, and read on for a moment without looking.
        with suppress(OSError):  # the client may be gone already
            self._transport.write_eof()
        self._abort_later()

    def _close(self) -> None:
        self._transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        """Close the connection of a client that does not read the last reply."""
        self._deadline.set(self._loop, self._server.limits.linger, self._transport.abort)

    async def _clear_away(self) -> None:
        """End when the open request is answered, although the client is gone."""
        if self._answering is not None:
            await asyncio.wait([self._answering])
        self._end()

    def _end(self) -> None:
        self._deadline.clear()
        if self._session:
            self._reception.leave()
            self._account(self._session)
        # TLS and this connection refer to each other. Without this its memory would wait for the garbage collector.
        self._transport = self._under_tls
        self._server.closed(self, was_admitted=self._is_admitted)

    # Time

    def _look_at_the_clock(self) -> None:
        now, session = self._loop.time(), self._session
        if self._is_write_paused and now >= self._write_paused_at + self._server.limits.silence:
            self._transport.abort()  # it would not read why
            return
        left, reply = LOOK_EVERY, replies.TIMEOUT
        if session is not None and self._answering is None:  # else it waits for the server
            is_crowded = self._server.backend.admission.is_crowded
            left, reply = self._time.left(session, self._server.limits, is_crowded=is_crowded, now=now)
        if left > 0:
            self._deadline.set(self._loop, min(left, LOOK_EVERY), self._look_at_the_clock)
        else:
            self.hang_up(reply)
