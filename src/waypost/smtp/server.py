"""The SMTP server: sockets, time, and the house's answers. What is said in a session is decided in `session`."""

import asyncio
import os
import uuid
from functools import partial
from typing import cast

from waypost import events
from waypost.app import accept, ports
from waypost.domain import messages
from waypost.smtp import errors, replies
from waypost.smtp.replies import Reply
from waypost.smtp.session import Event, MessageReceived, RecipientGiven, Session

SILENCE_LIMIT = 300.0
"""Seconds without a word from the client (RFC 5321 section 4.5.3.2.7)."""

LINGER = 2.0
"""Seconds that a client we hang up on gets to read why."""

PAUSE_AT = 256 * 1024
"""Octets received ahead of what we can answer, before we stop reading."""


class SmtpServer:
    """Takes connections on one address, and mail on each."""

    def __init__(
        self,
        store: ports.Store,
        house: accept.House,
        *,
        clock: ports.Clock,
        emit: events.Emit,
        silence_limit: float = SILENCE_LIMIT,
    ) -> None:
        self.house = house
        self.silence_limit = silence_limit
        self._store = store
        self._clock = clock
        self._emit = emit
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the real address, also for port 0. Raises `OSError` if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=1024)
        name = self._server.sockets[0].getsockname()
        return name[0], name[1]

    async def stop(self) -> None:
        """Take no more connections, give every message that was received its answer, and hang up."""
        if self._server:
            self._server.close()
        for connection in list(self._connections):
            connection.hang_up(replies.SHUTTING_DOWN)
        while self._connections:
            await asyncio.wait([connection.ended for connection in self._connections])

    async def decide(self, event: Event, peer: str) -> Reply:
        """The house's answer to a question of a session. Never raises: the one error boundary of this edge."""
        try:
            if isinstance(event, RecipientGiven):
                await self._store.read(partial(accept.check_recipient, address=event.address))
                return replies.RECIPIENT_OK
            return await self._accept(event)
        except Exception as error:  # noqa: BLE001 - whatever it was, the mail stays with the sender
            return self._refuse(error, event, peer)

    def opened(self, connection: "_Connection") -> None:
        """A client has connected."""
        self._connections.add(connection)

    def closed(self, connection: "_Connection") -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    def hung_up(self, peer: str, reply: Reply) -> None:
        """We ended a client's session, for the reason in the reply."""
        self._emit(events.SessionClosed(peer=peer, reply=str(reply)))

    def failed(self, error: Exception) -> Reply:
        """A failure of ours: the log learns the cause, the client an id and that it may try again."""
        incident_id = str(uuid.uuid4())
        kind = events.StoreFailed if isinstance(error, ports.StoreUnavailable) else events.Failed
        self._emit(kind(where="smtp", id=incident_id, cause=error))
        return replies.TRY_AGAIN.about(id=incident_id)

    def _refuse(self, error: Exception, event: Event, peer: str) -> Reply:
        reply = errors.refusal(error)
        if reply is None:
            return self.failed(error)
        kind = events.MessageRefused if isinstance(event, MessageReceived) else events.RecipientRefused
        self._emit(kind(peer=peer, reply=str(reply)))
        return reply

    async def _accept(self, event: MessageReceived) -> Reply:
        now = self._clock()
        use_case = partial(
            accept.accept_message,
            house=self.house,
            message_id=messages.new_id(now, os.urandom(10)),
            envelope=event.envelope,
            recipients=event.recipients,
            raw=event.raw,
            now=now,
        )
        message = await self._store.write(use_case)
        # From here on the message is on disk, and only from here on may the client hear so.
        self._emit(
            events.MessageAccepted(
                id=message.id, peer=event.envelope.peer, size=message.size, recipients=len(event.recipients)
            )
        )
        return replies.ACCEPTED.about(id=message.id)


class _Connection(asyncio.Protocol):
    """One client: moves octets between the socket and the session, and watches the time."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._answering: asyncio.Task[None] | None = None
        self._farewell: Reply | None = None
        self._client_is_done = False
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        name = self._transport.get_extra_info("peername")
        if name is None:  # the client is gone before we could ask who it was
            self._transport.abort()
            return
        self._peer = name[0]
        self._session = Session(hostname=self._server.house.hostname, peer=self._peer)
        self._server.opened(self)
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(self._server.silence_limit, self._check_silence)
        self._send()

    def data_received(self, data: bytes) -> None:
        if self._session.farewell:
            return
        self._heard_at = self._loop.time()
        self._session.receive(data)
        if self._answering is None:
            self._go_on()
        elif self._session.waiting_octets > PAUSE_AT:
            self._pause()

    def eof_received(self) -> bool:
        # A client may send all it has and close its side; it still gets its answers.
        self._client_is_done = True
        return self._answering is not None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._server.closed(self)
        self.ended.set_result(None)

    def pause_writing(self) -> None:
        # A client that does not read its replies gets to send no more commands.
        self._pause()

    def resume_writing(self) -> None:
        self._resume()

    def hang_up(self, reply: Reply) -> None:
        """End the session with this reply; if an answer is under way, after it."""
        if self._answering is not None:
            self._farewell = reply
        elif not self._session.farewell:
            self._session.close(reply)
            self._send()

    def _go_on(self) -> None:
        """Serve what has been received, up to the first question that the house must think about."""
        try:
            event = self._session.next_event()
        except Exception as error:  # noqa: BLE001 - a mistake of ours in the session; the mail stays with the sender
            self._session.close(self._server.failed(error))
            event = None
        if event is None:
            self._send()
        else:
            self._answering = self._loop.create_task(self._answer(event))

    async def _answer(self, question: Event) -> None:
        """Have this question answered, and those that follow in what has been received."""
        event: Event | None = question
        try:
            while event is not None:
                self._session.answer(await self._server.decide(event, self._peer))
                if self._farewell:
                    self._session.close(self._farewell)
                if isinstance(event, MessageReceived):
                    self._send()  # who has waited for the disk does not wait for the next message too
                event = self._session.next_event()
        except Exception as error:  # noqa: BLE001 - as above
            self._session.close(self._server.failed(error))
        self._answering = None
        self._heard_at = self._loop.time()
        self._resume()
        self._send()

    def _pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _send(self) -> None:
        """Send the replies so far, all at once; hang up if the session is over."""
        output = self._session.output()
        if self._transport.is_closing():
            return
        if output:
            self._transport.write(output)
        if self._session.farewell:
            self._finish(self._session.farewell)
        elif self._client_is_done:
            self._transport.close()

    def _finish(self, farewell: Reply) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(min(LINGER, self._server.silence_limit), self._transport.abort)
        if farewell is replies.BYE or self._client_is_done:
            self._transport.close()
            return
        self._server.hung_up(self._peer, farewell)
        # Closing at once, with octets unread, would make the system send a reset, and the client might never see
        # our reply. So we end our side, and read on for a moment without looking.
        self._transport.write_eof()

    def _check_silence(self) -> None:
        silent_for = self._loop.time() - self._heard_at
        left = self._server.silence_limit - silent_for
        if self._answering is not None or left > 0:
            self._timer = self._loop.call_later(max(left, 1.0), self._check_silence)
            return
        self.hang_up(replies.TIMEOUT)
