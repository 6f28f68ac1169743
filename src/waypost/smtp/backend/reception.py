"""Answers an SMTP session's requests. The answers say whether an address exists here, and whether a message is
accepted.

This module is the SMTP server's error boundary: it turns every exception of a use case into a reply.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

from waypost.app.mail import accept, bounces
from waypost.domain.directory.addresses import Address
from waypost.domain.mail import messages
from waypost.domain.mailauth import enforcement, verdicts
from waypost.domain.mailauth.enforcement import Findings, Reason, Ruling, Unchecked
from waypost.domain.mailauth.from_header import MAX_NAMED
from waypost.domain.mailauth.verdicts import Claim
from waypost.observe import events
from waypost.smtp.backend import errors
from waypost.smtp.backend.backend import Backend
from waypost.smtp.backend.fault_injection import FaultInjection, Pause
from waypost.smtp.backend.refusal_trace import RefusalTrace
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import (
    ContentOffered,
    MessageReceived,
    PieceReceived,
    RecipientGiven,
    Request,
    SenderGiven,
)

PART = 1024 * 1024
"""The maximum number of bytes of a message that are read at a time for the sender checks."""


_REFUSALS = {
    Ruling.REFUSED_AS_FORGED: replies.NOT_AUTHENTIC,
    Ruling.REFUSED_AS_MALFORMED: replies.TOO_MANY_AUTHORS.about(limit=MAX_NAMED),
    Ruling.DEFERRED_AS_UNCLEAR: replies.AUTHOR_IN_DOUBT,
    Ruling.DEFERRED_IN_DOUBT: replies.AUTHENTICITY_IN_DOUBT,
    Ruling.DEFERRED_UNCHECKED: replies.NOT_CHECKED,
}


class Reception:
    """Answers the requests of one client's session, and decides whether the client may begin a message."""

    def __init__(
        self,
        backend: Backend,
        *,
        peer: str,
        trusted: bool,
        in_trusted_network: bool = False,
    ) -> None:
        """`peer` is the client's IP address.

        `trusted` is true if the client is connected to a listener that only the operator's own mail servers use.

        `in_trusted_network` is true if a setting lists the client's network as trusted. The senders of mail from such a
        network are not checked.
        """
        self._backend = backend
        self._peer = peer
        self._trusted = trusted
        self._in_trusted_network = in_trusted_network
        self._incomplete_id: str | None = None
        """The id of the incomplete message whose pieces are in the store; None if there is none."""
        self._trace = RefusalTrace(
            backend.store, backend.deployment, backend.refusals, peer=peer, failed=backend.failed
        )
        self.faults = FaultInjection(backend.faults, self._trace, peer=peer, emit=backend.emit)
        """The faults of this client's session, for tests."""

    @property
    def injects_faults(self) -> bool:
        """Whether faults may be injected into the session."""
        return self._backend.faults.allowed

    def at_mail(self) -> Reply | None:
        """Return a refusal if the disk is full or this client has sent too many messages; otherwise None."""
        if self._backend.is_full():
            return replies.NO_DISK
        if self._trusted:
            return None
        return self._backend.admission.message_from(self._peer, self._backend.clock())

    def at_data(self) -> Reply | None:
        """Return a refusal if the disk or the memory has no room for another message; otherwise None."""
        if self._backend.is_full():
            return replies.NO_DISK
        return replies.NO_MEMORY if self._backend.memory.is_full else None

    def refused(self, reply: Reply) -> None:
        """Log that the session has refused a message by itself, without asking the backend."""
        self._backend.emit(events.MessageRefused(peer=self._peer, reply=str(reply)))

    def knows(self, address: Address) -> bool:
        """Return whether the recipient can be accepted without a delay or a query, which is the usual case. Otherwise,
        `answer` must answer the request.
        """
        backend = self._backend
        if self.injects_faults or not backend.known.get(address.key, backend.store.directory_version()):
            return False
        may_guess = self._trusted or self._in_trusted_network
        return may_guess or not backend.admission.must_wait(self._peer, backend.clock())

    async def answer(self, request: Request, pause: Pause = asyncio.sleep) -> Reply:
        """Return the reply to a request from the session. Never raises an exception.

        `pause` waits for a number of seconds, or until the client has disconnected.
        """
        try:
            if self.injects_faults and (reply := await self.faults.inject(request, pause)):
                return reply
            if isinstance(request, SenderGiven | ContentOffered):
                return replies.OK
            if isinstance(request, RecipientGiven):
                if not await self._delay_reply(pause):
                    # The reply does not depend on the store, so it does not reveal whether the address exists.
                    account = await self._trace.account_of(request.address)
                    await self._record_refusal(request, replies.TOO_MANY_UNKNOWN, account)
                    return replies.TOO_MANY_UNKNOWN
                version = self._backend.store.directory_version()
                await self._backend.store.read(
                    partial(
                        accept.check_recipient,
                        deployment=self._backend.deployment,
                        address=request.address,
                        sender=request.sender,
                        now=self._backend.clock(),
                    )
                )
                if request.sender:  # otherwise the address may be a rewritten sender
                    self._backend.known.add(request.address.key, True, version)
                return replies.RECIPIENT_OK
            if isinstance(request, PieceReceived):
                return await self._store_piece(request)
            assert isinstance(request, MessageReceived)
            return await self._accept(request)
        except Exception as error:  # noqa: BLE001 - after any error the sending server keeps the mail
            return await self._refuse(error, request)

    async def _delay_reply(self, pause: Pause) -> bool:
        """Delay the reply to a client that guesses addresses.

        Returns False if the delay would be so long that the client gets a temporary failure instead.
        """
        if self._in_trusted_network or self._trusted:
            return True
        seconds = self._backend.admission.wait_before_reply(self._peer, self._backend.clock())
        if seconds:
            await pause(seconds)
        return seconds is not None

    def leave(self) -> None:
        """End the session, and delete its incomplete message, if there is one."""
        message_id, self._incomplete_id = self._incomplete_id, None
        if message_id:
            self._backend.aborted_transfers.add(message_id)

    async def _refuse(self, error: Exception, request: Request) -> Reply:
        reply = errors.refusal(error)
        if reply is None:
            return self._backend.failed(error)
        if reply == replies.NO_SUCH_USER and not self._trusted and not self._in_trusted_network:
            reply = self._backend.admission.unknown_from(self._peer, self._backend.clock()) or reply
        await self._record_refusal(request, reply)
        return reply

    async def _record_refusal(self, request: Request, reply: Reply, account: str = "") -> None:
        """Log a refusal and add it to the trace.

        `account` is the account that owns the recipient, or an empty string if no account owns it.
        """
        kind = events.MessageRefused if isinstance(request, MessageReceived) else events.RecipientRefused
        self._backend.emit(kind(peer=self._peer, reply=str(reply)))
        await self._trace.add(request, reply, self.faults.in_refusal(request), account)

    async def _store_piece(self, piece: PieceReceived) -> Reply:
        if self._backend.is_full():
            self.leave()
            return replies.NO_DISK
        now = self._backend.clock()
        if piece.start == 0:
            self.leave()
            self._incomplete_id = self._backend.ids.new(now)
        assert self._incomplete_id
        use_case = partial(
            accept.keep_octets, message_id=self._incomplete_id, octets=piece.octets, start=piece.start, now=now
        )
        async with self._backend.pieces:
            await self._backend.store.write(use_case)
        return replies.OK

    async def _accept(self, request: MessageReceived) -> Reply:
        backend = self._backend
        if request.start == 0:
            self.leave()
        found = await self._check(request)
        if refusal := await self._refused_for_its_author(found, request):
            return refusal
        rewritten = self._rewritten(request)
        content = accept.examine(
            request.header,
            hostname=backend.deployment.hostname,
            sender=request.envelope.sender,
            bounce=await self._bounce(request) if rewritten else b"",
            authserv_id=backend.deployment.hostname if not self._trusted else "",
            found=found,
            is_trusted=self._in_trusted_network,
            faults=self.faults.of_message,
        )
        now = backend.clock()
        use_case = partial(
            accept.accept_message,
            deployment=backend.deployment,
            message_id=self._incomplete_id or backend.ids.new(now),
            envelope=request.envelope,
            recipients=request.recipients,
            content=content,
            originals=await self._originals(rewritten) if rewritten else (),
            raw=request.raw,
            kept=request.start,
            now=now,
        )
        # A bounce, and a message that arrived in pieces, change existing rows, which others may have locked.
        accepted = await backend.store.write(use_case, may_share=not rewritten and request.start == 0)
        message = accepted.message
        self._incomplete_id = None
        # Now the message is on disk. The client must not get a positive reply before this point.
        if not accepted.is_complete:
            await self._store_planned(message.id)
        if accepted.has_work:
            backend.has_work()
        backend.emit(
            events.MessageAccepted(
                id=message.id, peer=self._peer, size=message.size, recipients=len(request.recipients)
            )
        )
        return replies.ACCEPTED.about(id=message.id)

    async def _store_planned(self, message_id: str) -> None:
        """Store the deliveries of a message with many recipients, so that they are visible before the client gets the
        reply.

        If the deliveries cannot be stored, the client still gets the positive reply, because the message and the plan
        for its deliveries are already on disk. The server tries to store the deliveries again later.
        """
        try:
            await self._backend.store_planned(message_id)
        except Exception as error:  # noqa: BLE001 - this server is already responsible for the message
            self._backend.failed(error)
            self._backend.unstored_deliveries.add(message_id)

    async def _refused_for_its_author(self, found: Findings, request: MessageReceived) -> Reply | None:
        """Return the reply to a message that the sender checks refuse or defer, or None if they accept it.

        If the message is refused or deferred, the results of the checks are added to the trace.
        """
        ruling = enforcement.rule(found, enforces=self._backend.enforces)
        if ruling is Ruling.ACCEPTED:
            return None
        reply = _REFUSALS[ruling]
        if isinstance(found, Unchecked):
            reply, detail = reply.about(reason=found), {"unchecked": str(found)}
        else:
            words = verdicts.in_words(found).items()
            detail = {"verdicts": ", ".join(f"{name} {result}" for name, result in words)}
        results = detail.get("verdicts", "")
        self._backend.emit(events.MessageRefused(peer=self._peer, reply=str(reply), verdicts=results))
        await self._trace.add(request, reply, detail | self.faults.in_refusal(request))
        return reply

    async def _check(self, request: MessageReceived) -> Findings:
        """Return the results of SPF, DKIM and DMARC, or the reason why the message was not checked."""
        if self._backend.authenticator is None:
            return Unchecked(Reason.OFF)
        if self._trusted:
            return Unchecked(Reason.HANDED_OVER)
        if self._in_trusted_network:
            return Unchecked(Reason.TRUSTED)
        claim = Claim(self._peer, request.envelope.helo, request.envelope.sender)
        size = request.start + len(request.raw)
        return await self._backend.authenticator.check(claim, self._octets(request), size)

    async def _bounce(self, request: MessageReceived) -> bytes:
        """Return the first bytes of a bounce, which may contain a delivery report."""
        limit = messages.HEADER_LIMIT
        if request.start == 0:
            return request.raw[:limit]
        kept = partial(accept.kept_octets, message_id=self._incomplete_id or "", start=0, limit=limit)
        return await self._backend.store.long_read(kept, what="the bytes of a message")

    async def _originals(self, rewritten: Sequence[Address]) -> list[bounces.Original]:
        """Find the messages to which a bounce refers. The search takes milliseconds. It must be complete before the
        transaction that stores the bounce begins, so that it does not make the transaction longer.
        """
        originals = []
        for recipient in rewritten:
            find = partial(
                bounces.find, deployment=self._backend.deployment, address=recipient, now=self._backend.clock()
            )
            if original := await self._backend.store.read(find):
                originals.append(original)
        return originals

    def _rewritten(self, request: MessageReceived) -> list[Address]:
        """Return those recipients of a bounce that are rewritten sender addresses."""
        if request.envelope.sender:
            return []
        return [each for each in request.recipients if bounces.is_rewritten(self._backend.deployment, each)]

    async def _octets(self, request: MessageReceived) -> AsyncIterator[bytes]:
        """Yield the bytes of the message in parts."""
        for start in range(0, request.start, PART):
            limit = min(PART, request.start - start)
            kept = partial(accept.kept_octets, message_id=self._incomplete_id or "", start=start, limit=limit)
            yield await self._backend.store.long_read(kept, what="the bytes of a message")
        yield request.raw
