"""What a session asks, answered: is this an address here, is this message ours now. The edge's one error boundary."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import accept
from waypost.app.ports.failures import STORE_FAILURES
from waypost.domain.directory.addresses import Address
from waypost.domain.dsn import reports
from waypost.domain.mail import messages
from waypost.domain.mailauth import enforcement, verdicts
from waypost.domain.mailauth.enforcement import Findings, Reason, Ruling, Unchecked
from waypost.domain.mailauth.from_header import MAX_NAMED
from waypost.domain.mailauth.verdicts import Claim
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.tasks import Tasks
from waypost.smtp.backend import errors
from waypost.smtp.backend.aborted_transfers import Leftovers
from waypost.smtp.backend.refusals import Refusals
from waypost.smtp.limits.admission import Admission
from waypost.smtp.limits.memory import Memory
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import MessageReceived, PieceReceived, Question, RecipientGiven

PIECES_AT_ONCE = 8
"""Pieces of large messages that are written at once. The others wait, so that calls and small mail do not."""

PART = 1024 * 1024
"""Octets of a message that are read at once for the checks of its sender."""


Pause = Callable[[float], Awaitable[object]]
"""Waits before a reply."""

RANDOM_OCTETS = 8
"""Of an id."""


class Ids:
    """Ids of messages, each behind all earlier ones, also in one millisecond, and while the clock goes back."""

    def __init__(self) -> None:
        self._newest_at: datetime | None = None
        self._at_once = 0
        self._random = io.BytesIO()

    def new(self, now: datetime) -> str:
        """The next id."""
        now = max(now, self._newest_at or now)
        self._at_once = self._at_once + 1 if now == self._newest_at else 0
        self._newest_at = now
        random = self._random.read(RANDOM_OCTETS)
        if not random:  # to ask the system each time takes longer than the rest of an id
            self._random = io.BytesIO(os.urandom(RANDOM_OCTETS * 256))
            random = self._random.read(RANDOM_OCTETS)
        return messages.new_id(now, self._at_once, random)


@dataclass(frozen=True, kw_only=True)
class House:
    """What all receptions of a server share."""

    store: ports.Store
    deployment: Deployment
    clock: ports.Clock
    emit: events.Emit
    tasks: Tasks
    admission: Admission
    memory: Memory
    authenticator: ports.Authenticator | None = None
    """None: nobody's mail is checked."""
    enforces: bool = False
    """Whether mail that fails DMARC is refused where the domain's owner asks for that."""
    has_work: Callable[[], None] = lambda: None
    """Told that there are deliveries that wait to be sent on."""
    is_full: Callable[[], bool] = lambda: False
    """Whether the disk has no room for mail."""
    ids: Ids = field(default_factory=Ids)
    pieces: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PIECES_AT_ONCE))

    @cached_property
    def incidents(self) -> Incidents:
        """Where failures of ours are reported."""
        return Incidents(self.emit, of_store=STORE_FAILURES)

    @cached_property
    def refusals(self) -> Refusals:
        """What the trace can tell of mail that was refused."""
        return Refusals(self.store, self.clock, self.failed, self.tasks)

    @cached_property
    def leftovers(self) -> Leftovers:
        """What is let go in the background."""
        return Leftovers(self.store, failed=self.failed, tasks=self.tasks)

    def failed(self, error: Exception) -> Reply:
        """A failure of ours: the log learns the cause, the client an id and that it may try again."""
        incident = self.incidents.report(error, where="smtp")
        return replies.TRY_AGAIN.about(id=incident.id)


_REFUSALS = {
    Ruling.REFUSED_AS_FORGED: replies.NOT_AUTHENTIC,
    Ruling.REFUSED_AS_MALFORMED: replies.TOO_MANY_AUTHORS.about(limit=MAX_NAMED),
    Ruling.DEFERRED_AS_UNCLEAR: replies.AUTHOR_IN_DOUBT,
    Ruling.DEFERRED_IN_DOUBT: replies.AUTHENTICITY_IN_DOUBT,
    Ruling.DEFERRED_UNCHECKED: replies.NOT_CHECKED,
}


class Reception:
    """Answers the questions of one client's session, and lets it begin messages or not."""

    def __init__(
        self,
        house: House,
        *,
        peer: str,
        are_strangers: bool,
        is_trusted: bool = False,
    ) -> None:
        """`are_strangers`: whether clients here are anybody, and no mail server of ours that hands mail over.

        `is_trusted`: whether a setting names the network of this client, so that its senders are believed.
        """
        self._house = house
        self._peer = peer
        self._are_strangers = are_strangers
        self._is_trusted = is_trusted
        self._coming: str | None = None
        """The id of the message of which pieces are kept."""

    def at_mail(self) -> Reply | None:
        """Is there room on the disk, and may this address send one more message now?"""
        if self._house.is_full():
            return replies.NO_DISK
        if not self._are_strangers:
            return None
        return self._house.admission.message_from(self._peer, self._house.clock())

    def at_data(self) -> Reply | None:
        """Is there room for a message, on the disk and in memory?"""
        if self._house.is_full():
            return replies.NO_DISK
        return replies.NO_MEMORY if self._house.memory.is_full else None

    def refused(self, reply: Reply) -> None:
        """The session has refused a message by itself."""
        self._house.emit(events.MessageRefused(peer=self._peer, reply=str(reply)))

    async def answer(self, question: Question, pause: Pause = asyncio.sleep) -> Reply:
        """The answer to a question of the session. Never raises.

        `pause` waits for so many seconds, or until it does not matter any more.
        """
        try:
            if isinstance(question, RecipientGiven):
                if not await self._gets_answer(pause):
                    # The reply is the same whatever the store says, so it does not tell whether the address exists.
                    account = await self._account_of(question.address)
                    await self._tell_of_refusal(question, replies.TOO_MANY_UNKNOWN, account)
                    return replies.TOO_MANY_UNKNOWN
                await self._house.store.read(
                    partial(
                        accept.check_recipient,
                        deployment=self._house.deployment,
                        address=question.address,
                        sender=question.sender,
                        now=self._house.clock(),
                    )
                )
                return replies.RECIPIENT_OK
            if isinstance(question, PieceReceived):
                return await self._keep(question)
            assert isinstance(question, MessageReceived)
            return await self._accept(question)
        except Exception as error:  # noqa: BLE001 - whatever it was, the mail stays with the sender
            return await self._refuse(error, question)

    async def _gets_answer(self, pause: Pause) -> bool:
        """Wait as long as a client that guesses addresses has to. False if it is told nothing of this recipient now."""
        if self._is_trusted or not self._are_strangers:
            return True
        seconds = self._house.admission.wait_before_reply(self._peer, self._house.clock())
        if seconds:
            await pause(seconds)
        return seconds is not None

    def leave(self) -> None:
        """The session is over: let go of a message that did not come to its end."""
        message_id, self._coming = self._coming, None
        if message_id:
            self._house.leftovers.add(message_id)

    async def _refuse(self, error: Exception, question: Question) -> Reply:
        reply = errors.refusal(error)
        if reply is None:
            return self._house.failed(error)
        if reply == replies.NO_SUCH_USER and self._are_strangers and not self._is_trusted:
            reply = self._house.admission.unknown_from(self._peer, self._house.clock()) or reply
        await self._tell_of_refusal(question, reply)
        return reply

    async def _tell_of_refusal(self, question: Question, reply: Reply, account: str = "") -> None:
        """Log a refusal, and let the trace tell of it. `account` owns the recipient; empty if nobody does."""
        kind = events.MessageRefused if isinstance(question, MessageReceived) else events.RecipientRefused
        self._house.emit(kind(peer=self._peer, reply=str(reply)))
        await self._remember(question, reply, account=account)

    async def _remember(
        self,
        question: Question,
        reply: Reply,
        detail: Mapping[str, str | int] | None = None,
        account: str = "",
    ) -> None:
        """Let the trace tell of a refusal: of one recipient, which `account` owns, or of a message for all of them."""
        add = partial(self._house.refusals.add, reply=reply, peer=self._peer, detail=detail)
        if isinstance(question, RecipientGiven):
            add(question.address, stage="rcpt", helo=question.helo, sender=question.sender, account=account)
        elif isinstance(question, MessageReceived):
            envelope = question.envelope
            if reply.enhanced == replies.MAIL_LOOP.enhanced:
                add = partial(add, detail={"path": " → ".join(reports.path(question.header))})
            # Once for each address: RCPT may name one again and again.
            recipients = list({recipient.key: recipient for recipient in question.recipients}.values())
            accounts = await self._accounts_of(recipients)
            for recipient in recipients:
                account = accounts.get(recipient.key, "")
                add(recipient, stage="message", helo=envelope.helo, sender=envelope.sender, account=account)

    async def _account_of(self, recipient: Address) -> str:
        """The account that owns a recipient now; empty if nobody does, or the store cannot say."""
        return (await self._accounts_of((recipient,))).get(recipient.key, "")

    async def _accounts_of(self, recipients: Sequence[Address]) -> Mapping[str, str]:
        """The accounts that own recipients now, by their keys; none where the store cannot say.

        Who owns them later does not matter: an account that makes an address learns nothing of before.
        """
        use_case = partial(accept.accounts_of, deployment=self._house.deployment, recipients=recipients)
        try:
            return await self._house.store.read(use_case)
        except Exception as error:  # noqa: BLE001 - the mail is refused in any case
            self._house.failed(error)
            return {}

    async def _keep(self, piece: PieceReceived) -> Reply:
        if self._house.is_full():
            self.leave()
            return replies.NO_DISK
        now = self._house.clock()
        if piece.start == 0:
            self.leave()
            self._coming = self._house.ids.new(now)
        assert self._coming
        use_case = partial(accept.keep_octets, message_id=self._coming, octets=piece.octets, start=piece.start, now=now)
        async with self._house.pieces:
            await self._house.store.write(use_case)
        return replies.OK

    async def _accept(self, question: MessageReceived) -> Reply:
        house = self._house
        if question.start == 0:
            self.leave()
        found = await self._check(question)
        if refusal := await self._refused_for_its_author(found, question):
            return refusal
        now = house.clock()
        use_case = partial(
            accept.accept_message,
            deployment=house.deployment,
            message_id=self._coming or house.ids.new(now),
            envelope=question.envelope,
            recipients=question.recipients,
            header=question.header,
            raw=question.raw,
            kept=question.start,
            authserv_id=house.deployment.hostname if self._are_strangers else "",
            found=found,
            is_trusted=self._is_trusted,
            now=now,
        )
        accepted = await house.store.write(use_case)
        message = accepted.message
        self._coming = None
        # From here on the message is on disk, and only from here on may the client hear so.
        if accepted.has_work:
            house.has_work()
        house.emit(
            events.MessageAccepted(
                id=message.id, peer=self._peer, size=message.size, recipients=len(question.recipients)
            )
        )
        return replies.ACCEPTED.about(id=message.id)

    async def _refused_for_its_author(self, found: Findings, question: MessageReceived) -> Reply | None:
        """The reply to a message that is refused or deferred by what its checks found, which the trace is told."""
        ruling = enforcement.rule(found, enforces=self._house.enforces)
        if ruling is Ruling.ACCEPTED:
            return None
        reply = _REFUSALS[ruling]
        if isinstance(found, Unchecked):
            reply, detail = reply.about(reason=found), {"unchecked": str(found)}
        else:
            words = verdicts.in_words(found).items()
            detail = {"verdicts": ", ".join(f"{name} {told}" for name, told in words)}
        self._house.emit(events.MessageRefused(peer=self._peer, reply=str(reply), verdicts=detail.get("verdicts", "")))
        await self._remember(question, reply, detail)
        return reply

    async def _check(self, question: MessageReceived) -> Findings:
        """What SPF, DKIM and DMARC say, or why they were not asked."""
        if self._house.authenticator is None:
            return Unchecked(Reason.OFF)
        if not self._are_strangers:
            return Unchecked(Reason.HANDED_OVER)
        if self._is_trusted:
            return Unchecked(Reason.TRUSTED)
        claim = Claim(self._peer, question.envelope.helo, question.envelope.sender)
        size = question.start + len(question.raw)
        return await self._house.authenticator.check(claim, self._octets(question), size)

    async def _octets(self, question: MessageReceived) -> AsyncIterator[bytes]:
        """The message, part by part."""
        for start in range(0, question.start, PART):
            limit = min(PART, question.start - start)
            kept = partial(accept.kept_octets, message_id=self._coming or "", start=start, limit=limit)
            yield await self._house.store.long_read(kept, what="the octets of a message")
        yield question.raw
