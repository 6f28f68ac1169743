"""The SMTP server: sockets, time, and the answers to a session's questions. What is said is decided in `session`."""

import asyncio
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import cast

from waypost import events
from waypost.app import accept, ports
from waypost.domain import messages
from waypost.domain.errors import Busy
from waypost.smtp import errors, replies
from waypost.smtp.replies import Reply
from waypost.smtp.session import Event, MessageReceived, RecipientGiven, Session

SILENCE_LIMIT = 300.0
"""Seconds without a word from the client (RFC 5321 section 4.5.3.2.7)."""

LINGER = 2.0
"""Seconds that a client we hang up on gets to read why."""

PAUSE_AT = 64 * 1024
"""Octets received ahead of what we can answer, before we stop reading."""

QUESTIONS_A_TURN = 50
"""Questions of one client that are answered before the others get a turn."""


class SmtpServer:
    """Takes connections on one address, and mail on each."""

    def __init__(
        self,
        store: ports.Store,
        deployment: accept.Deployment,
        *,
        clock: ports.Clock,
        emit: events.Emit,
        silence_limit: float = SILENCE_LIMIT,
    ) -> None:
        self.deployment = deployment
        self.silence_limit = silence_limit
        self._store = store
        self._clock = clock
        self._emit = emit
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._newest_id_at: datetime | None = None
        self._ids_at_once = 0

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the real address, also for port 0. Raises `OSError` if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=1024)
        name = self._server.sockets[0].getsockname()
        return name[0], name[1]

    async def stop(self) -> None:
        """Take no more connections, give every message that was received its answer, and hang up."""
        self._stopping = True
        if self._server:
            self._server.close()
        for connection in list(self._connections):
            connection.hang_up(replies.SHUTTING_DOWN)
        while self._connections:
            await asyncio.wait([connection.ended for connection in self._connections])

    async def decide(self, event: Event, peer: str) -> Reply:
        """The answer to a question of a session. Never raises: the one error boundary of this edge."""
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
        if self._stopping:
            connection.hang_up(replies.SHUTTING_DOWN)

    def closed(self, connection: "_Connection") -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    def hung_up(self, peer: str, reply: Reply) -> None:
        """We ended a client's session, for the reason in the reply."""
        self._emit(events.SessionClosed(peer=peer, reply=str(reply)))

    def failed(self, error: Exception) -> Reply:
        """A failure of ours: the log learns the cause, the client an id and that it may try again."""
        incident_id = str(uuid.uuid4())
        kind = events.StoreFailed if isinstance(error, ports.StoreUnavailable | Busy) else events.Failed
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
            deployment=self.deployment,
            message_id=self._new_id(now),
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

    def _new_id(self, now: datetime) -> str:
        """An id behind all earlier ones, also in one millisecond, and while the clock goes back."""
        now = max(now, self._newest_id_at or now)
        self._ids_at_once = self._ids_at_once + 1 if now == self._newest_id_at else 0
        self._newest_id_at = now
        return messages.new_id(now, self._ids_at_once, os.urandom(8))


class _Connection(asyncio.Protocol):
    """One client: moves octets between the socket and the session, and watches the time."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._answering: asyncio.Task[None] | None = None
        self._farewell: Reply | None = None
        self._client_is_done = False
        self._client_is_deaf = False
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        name = self._transport.get_extra_info("peername")
        if name is None:  # the client is gone before we could ask who it was
            self._transport.abort()
            return
        self._peer = name[0]
        self._session = Session(hostname=self._server.deployment.hostname, peer=self._peer)
        self._heard_at = self._loop.time()
        self._watch(self._server.silence_limit, self._check_silence)
        self._send()
        self._server.opened(self)

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
        if self._answering is None:
            self._close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._server.closed(self)
        self.ended.set_result(None)

    def pause_writing(self) -> None:
        # A client that does not read its replies gets to send no more commands.
        self._client_is_deaf = True
        self._pause()

    def resume_writing(self) -> None:
        self._client_is_deaf = False
        self._resume()

    def hang_up(self, reply: Reply) -> None:
        """End the session with this reply; if an answer is under way, after it."""
        if self._answering is not None:
            self._farewell = reply
        elif not self._session.farewell:
            self._session.close(reply)
            self._send()

    def _go_on(self) -> None:
        """Serve what has been received, up to the first question of the session."""
        try:
            event = self._session.next_event()
        except Exception as error:  # noqa: BLE001 - a mistake of ours in the session; the mail stays with the sender
            self._session.close(self._server.failed(error))
            event = None
        if event is None and not self._session.has_more:
            self._send()
        else:
            self._answering = self._loop.create_task(self._answer(event))

    async def _answer(self, event: Event | None) -> None:
        """Have this question answered, and serve what else has been received, a turn at a time."""
        questions = 0
        try:
            while event is not None or self._session.has_more:
                if event is not None:
                    self._session.answer(await self._server.decide(event, self._peer))
                    questions += 1
                if self._farewell:
                    self._session.close(self._farewell)
                if isinstance(event, MessageReceived):
                    self._flush()  # who has waited for the disk does not wait for the next message too
                if event is None or questions % QUESTIONS_A_TURN == 0:
                    await asyncio.sleep(0)
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
        if not (self._client_is_deaf or self._transport.is_closing()):
            self._transport.resume_reading()

    def _send(self) -> None:
        """Send the replies so far; hang up if the session is over, or the client has nothing more to say."""
        self._flush()
        if self._transport.is_closing():
            return
        if self._session.farewell:
            self._hang_up_on(self._session.farewell)
        elif self._client_is_done:
            self._close()

    def _flush(self) -> None:
        output = self._session.output()
        if output and not self._transport.is_closing():
            self._transport.write(output)

    def _hang_up_on(self, farewell: Reply) -> None:
        if farewell is replies.BYE or self._client_is_done:
            self._close()
            return
        self._server.hung_up(self._peer, farewell)
        # Closing at once, with octets unread, would make the system send a reset, and the client might never see
        # our reply. So we end our side, and read on for a moment without looking.
        with suppress(OSError):  # the client may be gone already
            self._transport.write_eof()
        self._abort_later()

    def _close(self) -> None:
        self._transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        """A client that does not read our last words is not waited for."""
        self._watch(min(LINGER, self._server.silence_limit), self._transport.abort)

    def _check_silence(self) -> None:
        limit = self._server.silence_limit
        left = self._heard_at + limit - self._loop.time()
        if self._answering is not None:
            self._watch(limit, self._check_silence)
        elif left > 0:
            self._watch(left, self._check_silence)
        else:
            self.hang_up(replies.TIMEOUT)

    def _watch(self, seconds: float, action: Callable[[], None]) -> None:
        """Do this when so much time has passed, and forget what was to be done before."""
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, action)
