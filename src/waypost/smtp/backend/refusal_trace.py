"""Adds one client's refusals to the trace, with the accounts that may see them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import accept
from waypost.domain.directory.addresses import Address
from waypost.domain.dsn import reports
from waypost.smtp.backend.refusals import Refusals
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import ContentOffered, MessageReceived, RecipientGiven, Request, SenderGiven


class RefusalTrace:
    """Adds the refusals of one client's session to the trace."""

    def __init__(
        self,
        store: ports.Store,
        deployment: Deployment,
        refusals: Refusals,
        *,
        peer: str,
        failed: Callable[[Exception], object],
    ) -> None:
        """`peer` is the client's IP address. `failed` logs the error if the store fails."""
        self._store = store
        self._deployment = deployment
        self._refusals = refusals
        self._peer = peer
        self._failed = failed

    async def add(
        self,
        request: Request,
        reply: Reply,
        detail: Mapping[str, str | int] | None = None,
        account: str = "",
    ) -> None:
        """Add the refusal of a request: one entry for a refused sender or recipient, or one for each recipient of a
        refused message.

        `account` is the account that owns the refused recipient; it is ignored for other requests.
        """
        add = partial(self._refusals.add, reply=reply, peer=self._peer, detail=detail)
        match request:
            case SenderGiven(mail, helo):
                add(None, stage="mail", helo=helo, sender=mail.sender)
            case RecipientGiven(address, sender, helo):
                add(address, stage="rcpt", helo=helo, sender=sender, account=account)
            case ContentOffered(recipients, sender, helo):
                await self._add_for_each(recipients, partial(add, stage="message", helo=helo, sender=sender))
            case MessageReceived(envelope, recipients):
                if reply.enhanced == replies.MAIL_LOOP.enhanced:
                    add = partial(add, detail={"path": " → ".join(reports.path(request.header)), **(detail or {})})
                add = partial(add, stage="message", helo=envelope.helo, sender=envelope.sender)
                await self._add_for_each(recipients, add)
        await self._refusals.settle()

    async def account_of(self, recipient: Address) -> str:
        """Return the account that currently owns a recipient.

        Return an empty string if no account owns the recipient, or if the store fails.
        """
        return (await self._accounts_of((recipient,))).get(recipient.key, "")

    async def _add_for_each(self, given: Sequence[Address], add: Callable[..., None]) -> None:
        """Add a refusal for each recipient with `add`. Each address is recorded once, because a client may repeat RCPT
        for the same address.
        """
        recipients = list({recipient.key: recipient for recipient in given}.values())
        accounts = await self._accounts_of(recipients)
        for recipient in recipients:
            add(recipient, account=accounts.get(recipient.key, ""))

    async def _accounts_of(self, recipients: Sequence[Address]) -> Mapping[str, str]:
        """Return the accounts that currently own these recipients, keyed by the recipients' keys.

        The result is empty if the store fails. Because only current owners are returned, an account that creates an
        address later does not see earlier refusals of mail for that address.
        """
        use_case = partial(accept.accounts_of, deployment=self._deployment, recipients=recipients)
        try:
            return await self._store.read(use_case)
        except Exception as error:  # noqa: BLE001 - the mail is refused anyway
            self._failed(error)
            return {}
