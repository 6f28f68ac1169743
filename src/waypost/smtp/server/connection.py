"""One SMTP client's connection: moves bytes between the socket and the session, and enforces the time limits."""

import asyncio
import ssl
from contextlib import suppress
from typing import cast

from waypost.domain.mail.fault_rules import Action
from waypost.net.deadlines import Deadline
from waypost.net.tls_upgrade import TlsUpgrade, describe
from waypost.smtp.backend.reception import Reception
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import MessageReceived, PieceReceived, Request, TlsWanted
from waypost.smtp.protocol.session import Session
from waypost.smtp.protocol.states import State
from waypost.smtp.server.deadlines import ClientTime
from waypost.smtp.server.interfaces import Listener, Server

PAUSE_AT = 64 * 1024
"""If the server has this many unparsed bytes from a client, it pauses reading from the client."""

READ = 64 * 1024
"""The maximum number of bytes that are read from a client at a time."""

SCARCE_READ = 2 * 1024
"""The maximum number of bytes that are read from a client at a time when memory is scarce."""

UNREAD = 64 * 1024
"""If a client has left this many bytes of replies unread, the server stops reading from the client."""

REQUESTS_A_TURN = 50
"""The maximum number of requests and commands that are handled in one iteration of the event loop, for all clients
together.

The maximum is divided among the clients that have requests or commands waiting. A higher maximum would delay new
clients, which are accepted only once per iteration.
"""

CHECK_EVERY = 15.0
"""The maximum number of seconds between two checks of an idle client's time limit.

The time limit must be checked repeatedly, because it becomes shorter when most connections are in use."""

_RECEIVING = frozenset({State.DATA, State.CHUNK, State.BETWEEN_CHUNKS, State.CHUNK_IN_START})


class Connection(asyncio.BufferedProtocol):
    """One SMTP client's connection.

    The server first admits or refuses the client. If the listener requires TLS, the server then performs the handshake.
    Finally it sends the greeting and serves the session.
    """

    def __init__(self, server: Server, listener: Listener) -> None:
        self._server = server
        self._memory = server.backend.memory
        self.listener = listener
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._answering: asyncio.Task[None] | None = None
        self._farewell: Reply | None = None
        self._client_is_done = False
        self._is_write_paused = False
        """Whether the server is waiting for the client to read its replies."""
        self._is_admitted = False
        self._is_lost = False
        self._deadline = Deadline()
        """The timer that ends the connection if the client does not continue in time."""
        self._time = ClientTime()
        self._can_speak = not listener.is_tls
        """Whether the client can read a reply. On a TLS listener, the client can read replies only after the
        handshake."""
        self._upgrade: TlsUpgrade | None = None
        """The TLS handshake that is in progress; None if no handshake is in progress."""
        self._resumed: asyncio.Future[None] | None = None
        """A future that is done when the client resumes reading its replies or disconnects."""
        self._pausing: asyncio.Future[None] | None = None
        """A future that is done when the delayed reply to a client that guesses addresses may be sent."""
        self._write_paused_at = 0.0
        self._held = 0
        """The number of bytes that are counted for this client in the server's memory budget."""
        self.peer = ""
        """The client's IP address."""
        self.trusted = listener.trusted
        self._in_trusted_network = False

    # Callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        if name is None:  # the client disconnected before its address could be read
            cast(asyncio.Transport, transport).abort()
            self._is_lost = True
            return
        self.begin(cast(asyncio.Transport, transport), name[0])

    def begin(self, transport: asyncio.Transport, peer: str, *, can_be_trusted: bool = True) -> None:
        """Admit or refuse the client. `peer` is its IP address.

        `can_be_trusted` is false if `peer` may be the address of a load balancer that did not send its client's
        address.
        """
        self._transport = self._under_tls = transport
        self.peer = peer.removeprefix("::ffff:")  # IPv4 on a dual-stack socket
        self._in_trusted_network = not self.trusted and can_be_trusted and self._server.trusts(self.peer)
        refusal = self._server.opened(self)
        if refusal:
            self._refuse(refusal)
            return
        self._is_admitted = True
        if self.listener.is_tls:
            self._upgrade = self._new_upgrade()
            self._answering = self._loop.create_task(self._begin_with_tls())
        else:
            self._greet()

    def get_buffer(self, sizehint: int) -> memoryview:
        # All clients can share one buffer, because the bytes of each read are taken from the buffer immediately. Reads
        # are smaller while memory is scarce.
        return self._server.buffer[:SCARCE_READ] if self._memory.is_scarce else self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(bytes(self._server.buffer[:nbytes]))

    def _receive(self, data: bytes) -> None:
        session = self._session
        if self._upgrade is not None:
            self._upgrade.receive(data)
            return
        if session is None:
            self._refuse(replies.EARLY_TALKER)
            return
        if session.farewell:
            return
        self._time.heard(len(data), self._loop.time())
        session.receive(data)
        if self._answering is None:
            self._carry_out(session)
        if self._held or session.is_receiving or self._answering is not None:
            self._update_memory(session)
        if self._answering is not None and (session.waiting_octets > PAUSE_AT or self._memory.is_full):
            self._pause()

    def eof_received(self) -> bool:
        # A client may send all of its commands and then close its side; it still gets the replies. A TLS connection
        # cannot be half-closed.
        self._client_is_done = True
        if self._upgrade is not None and self._upgrade.has_transport:
            return False
        if self._answering is None and not self._transport.get_write_buffer_size():
            return False  # no reply is pending; this path is short because thousands of clients may leave at once
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
        self._resume_answer()
        self._end_pause()
        is_over = self._session is not None and self._session.farewell is not None
        if isinstance(exc, ssl.SSLError) and self._upgrade is None and not is_over:
            self._server.tls_failed(self.peer, exc)
        if self._answering is None:
            self._end()
        else:
            self._ending = self._loop.create_task(self._end_after_answer())

    def pause_writing(self) -> None:
        # The server stops reading commands from a client that does not read its replies.
        self._is_write_paused = True
        self._write_paused_at = self._loop.time()
        self._pause()
        if self._session and not self._session.farewell:
            seconds = min(self._server.limits.silence, CHECK_EVERY)
            self._deadline.set(self._loop, seconds, self._check_time)

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._resume_answer()
        if self._answering is None:
            self._resume()

    def end_session(self, reply: Reply) -> None:
        """End the session with this reply. If the server is working on an answer, the client gets the answer first.

        A TLS handshake in progress is cancelled.
        """
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

    @property
    def state(self) -> str:
        """The state of the session, for the metrics: one of the states of the protocol in lower case, `data` for all
        states in which the client sends a message, or `opening` before the greeting.
        """
        if self._session is None:
            return "opening"
        state = self._session.state
        return "data" if state in _RECEIVING else state.lower()

    # Before the session

    def _refuse(self, reply: Reply) -> None:
        if not self._transport.is_closing() and self._can_speak:
            self._transport.write(reply.wire)
        self._close()
        if self._is_admitted:
            self._server.session_ended(self.peer, reply)

    def _new_upgrade(self) -> TlsUpgrade:
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
        """Perform the TLS handshake.

        Returns the TLS version and cipher, and the bytes that the client has already sent over TLS. Returns None if the
        handshake failed.
        """
        assert self._server.certificates
        if self._is_lost or self._transport.is_closing():
            self._upgrade = None
            return None
        context, seconds = self._server.certificates.context, self._server.limits.handshake
        made = await upgrade.make(self, context, seconds=seconds, server_side=True)
        self._upgrade = None
        if made is None:  # the handshake failed, or was cancelled, or the client has disconnected
            if upgrade.error:
                self._server.tls_failed(self.peer, upgrade.error)
            self._transport.abort()
            self.connection_lost(None)
            return None
        self._transport = made.transport
        self._transport.set_write_buffer_limits(high=UNREAD)  # the default of a TLS transport is eight times as large
        self._server.tls_made(made.tls.version() or "")
        return describe(made.tls), made.said

    def _greet(self, version: str = "") -> None:
        self._reception = Reception(
            self._server.backend, peer=self.peer, trusted=self.trusted, in_trusted_network=self._in_trusted_network
        )
        delay = 0.0 if self.trusted else self._server.limits.greeting_delay
        fault = self._reception.faults.at_connect() if self._reception.injects_faults else None
        if fault and fault.action is Action.DROP:
            self._close()
        elif fault and fault.action is not Action.DELAY:
            self._refuse(fault.reply)
        elif delay or fault:
            self._deadline.set(self._loop, delay + (fault.seconds if fault else 0.0), self._open, version)
        else:
            self._open(version)

    def _open(self, version: str) -> None:
        if self._is_lost:
            return
        session = Session(
            self.listener.capabilities,
            peer=self.peer,
            gate=self._reception,
            tls=version,
            is_trusted=self._in_trusted_network,
        )
        self._session = session
        self._time.begin(self._loop.time())
        self._check_time()
        self._send(session)

    # The session

    def _carry_out(self, session: Session) -> None:
        """Carry out the received commands, up to the session's first request."""
        try:
            request = self._next_request(session)
        except Exception as error:  # noqa: BLE001 - a bug in the session; the sending server keeps the mail
            session.close(self._server.backend.failed(error))
            request = None
        self._time.note_progress(session)
        if request is None and not session.has_more:
            self._send(session)
        else:
            self._answering = self._loop.create_task(self._answer(session, request))

    async def _answer(self, session: Session, request: Request | None) -> None:
        """Answer this request, then process the rest of the received input. Pause at short intervals, so that other
        clients are served.
        """
        answered = 0
        self._server.busy += 1
        try:
            while request is not None or session.has_more:
                asked_at = self._loop.time()
                if request is not None:
                    await self._answer_one(session, request)
                    answered += 1
                if self._farewell or self._is_lost:  # the client would not get replies to further commands
                    session.close(self._farewell or replies.BYE)
                if isinstance(request, (MessageReceived, PieceReceived)):
                    self._time.server_took(self._loop.time() - asked_at)
                    self._update_memory(session)
                    self._flush(session)  # send the reply before the client's next message is written to disk
                if request is None or answered >= REQUESTS_A_TURN // self._server.busy:
                    answered = 0
                    self._flush(session)
                    await asyncio.sleep(0)
                if self._is_write_paused and not self._is_lost:  # unread replies would fill the memory
                    self._resumed = self._loop.create_future()
                    await self._resumed
                request = self._next_request(session)
        except Exception as error:  # noqa: BLE001 - a bug in the session; the sending server keeps the mail
            session.close(self._server.backend.failed(error))
        finally:
            self._server.busy -= 1
        self._answering = None
        self._time.answered(session, self._loop.time())
        self._update_memory(session)
        self._resume()
        self._send(session)

    async def _answer_one(self, session: Session, request: Request) -> None:
        if isinstance(request, TlsWanted):
            await self._start_tls(session)
            return
        if self._reception.injects_faults:
            self._flush(session)  # a fault delays or drops only the reply to this request
        session.answer(await self._reception.answer(request, self._pause_before_reply))
        if self._reception.faults.is_cut:
            session.close(replies.BYE)
            session.output()  # the client gets neither the reply to the request nor this one
            self._close()

    async def _pause_before_reply(self, seconds: float) -> None:
        """Delay the next reply by this many seconds, or until the client disconnects or the server stops.

        The server continues to serve its other clients.
        """
        if self._is_lost or self._farewell:
            return
        assert self._session
        self._flush(self._session)  # earlier replies are not delayed
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
        """Carry out received commands up to the next request that cannot be answered at once."""
        if self._held and self._memory.is_scarce:
            session.spill()
        return session.next_request(max(2, REQUESTS_A_TURN // (self._server.busy + 1)))

    async def _start_tls(self, session: Session) -> None:
        self._pause()  # the client's next bytes are for the TLS handshake
        self._flush(session)
        self._upgrade = self._new_upgrade()
        made = await self._make_tls(self._upgrade)
        if made:
            version, said = made
            session.tls_started(version)
            session.receive(said)
        else:
            session.close(replies.BYE)

    def _update_memory(self, session: Session) -> None:
        """Update this client's share of the memory budget."""
        held = 0 if self._is_lost else session.held_octets
        if held != self._held:
            self._memory.change(held - self._held)
            self._held = held

    def _resume_answer(self) -> None:
        """Resume `_answer`, because the client is reading its replies again or has disconnected."""
        if self._resumed and not self._resumed.done():
            self._resumed.set_result(None)

    def _pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not (self._is_write_paused or self._transport.is_closing()):
            self._transport.resume_reading()

    def _send(self, session: Session) -> None:
        """Send all pending replies. Close the connection if the session is over, or if the client has sent EOF."""
        self._flush(session)
        if self._transport.is_closing():
            return
        if session.farewell:
            self._close_after(session.farewell)
        elif self._client_is_done:
            self._close()

    def _flush(self, session: Session) -> None:
        output = session.output()
        if output and not self._transport.is_closing():
            self._transport.write(output)

    # The end

    def _close_after(self, farewell: Reply) -> None:
        if farewell is replies.BYE or self._client_is_done:
            self._close()
            return
        self._server.session_ended(self.peer, farewell, self._session.last_error if self._session else None)
        if not self._transport.can_write_eof():
            self._close()
            return
        # If the server closed the connection with unread bytes, the system would send a reset, and the client might
        # never see the reply. So the server closes its side, and discards further input for a moment.
        with suppress(OSError):  # the client may already have disconnected
            self._transport.write_eof()
        self._abort_later()

    def _close(self) -> None:
        self._transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        """Abort the connection after `limits.linger` seconds if the client has not read the last reply."""
        self._deadline.set(self._loop, self._server.limits.linger, self._transport.abort)

    async def _end_after_answer(self) -> None:
        """Wait until the pending request of a disconnected client has been answered, then release the connection."""
        if self._answering is not None:
            await asyncio.wait([self._answering])
        self._end()

    def _end(self) -> None:
        self._deadline.clear()
        if self._session:
            self._reception.leave()
            self._update_memory(self._session)
        # This breaks the reference cycle between TLS and this connection, which would hold memory until the next
        # garbage collection.
        self._transport = self._under_tls
        self._server.closed(self, was_admitted=self._is_admitted)

    # Time

    def _check_time(self) -> None:
        now, session = self._loop.time(), self._session
        if self._is_write_paused and now >= self._write_paused_at + self._server.limits.silence:
            self._transport.abort()  # the client would not read the reason
            return
        left, reply = CHECK_EVERY, replies.TIMEOUT
        if session is not None and self._answering is None:  # otherwise the client is waiting for the server
            is_crowded = self._server.backend.admission.is_crowded
            left, reply = self._time.left(session, self._server.limits, is_crowded=is_crowded, now=now)
        if left > 0:
            self._deadline.set(self._loop, min(left, CHECK_EVERY), self._check_time)
        else:
            self.end_session(reply)
