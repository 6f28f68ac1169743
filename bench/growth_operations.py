"""The operations that `growth.py` measures, each on a store that contains a number of email addresses or messages."""

import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from growth_fill import INSTANCE, TENANT, email_address
from msgspec.structs import replace

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.directory import aliases, email_addresses
from waypost.app.mail import accept, trace
from waypost.app.queue import attempt
from waypost.domain.directory import search
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.search import Comparison, Field
from waypost.domain.mail.messages import Envelope
from waypost.domain.mail.routes import Route

DESTINATION = "smtp://192.0.2.1:25"
QUEUED = email_address(4)
"""The primary whose mail goes to the queue. Its inbox also keeps a copy."""
LARGE = email_address(5)
"""The alias of `QUEUED`, whose inbox contains half of all messages."""

DEPLOYMENT = Deployment(
    "mx.example.com",
    b"k" * 32,
    routes=(Route(match=QUEUED.address.key, to=DESTINATION, keep=True),),
    routes_revision="bench",
)
RAW = b"Subject: Hello\r\n\r\n" + b"Hi there, this is a line.\r\n" * 150
SMALL = b"Subject: Hello\r\n\r\nHi there.\r\n"
READ = "the data of a measurement"

Step = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Measured:
    """One run of an operation: the step that is measured, and the step that undoes it, which is not measured."""

    step: Step
    undo: Step | None = None


class Operations:
    """The operations on a store with `count` email addresses. Each method returns one run with randomly chosen data."""

    def __init__(self, store: ports.Store, count: int) -> None:
        self._store = store
        self._count = count
        self._chance = random.Random(count)

    def _any(self) -> EmailAddress:
        return email_address(self._chance.randrange(self._count))

    def _alias(self) -> EmailAddress:
        """Return an alias, but not `LARGE`."""
        return email_address(self._tens() + 7)

    def rcpt(self) -> Measured:
        check = partial(
            accept.check_recipient, deployment=DEPLOYMENT, address=self._any().address, sender="", now=_now()
        )
        return Measured(lambda: self._store.read(check))

    def describe(self) -> Measured:
        return Measured(partial(self._store.read, _called(email_addresses.describe, TENANT, INSTANCE, self._any().id)))

    def associate(self) -> Measured:
        pair = self._pair(0)
        return Measured(
            partial(self._store.write, _called(aliases.associate, TENANT, INSTANCE, **pair)),
            partial(self._store.write, _called(aliases.disassociate, TENANT, INSTANCE, **pair)),
        )

    def disassociate(self) -> Measured:
        pair = self._pair(6)
        return Measured(
            partial(self._store.write, _called(aliases.disassociate, TENANT, INSTANCE, **pair)),
            partial(self._store.write, _called(aliases.associate, TENANT, INSTANCE, **pair)),
        )

    def _pair(self, last_digit: int) -> dict[str, object]:
        number = self._tens() + last_digit
        return {"primary_id": email_address(number).id, "alias_id": email_address(number + 1).id, "now": _now()}

    def _tens(self) -> int:
        return self._chance.randrange(self._count // 10) * 10

    def create(self) -> Measured:
        new = replace(email_address(self._chance.randrange(10**9, 10**10)), id=str(uuid.uuid4()))
        return Measured(
            partial(self._store.write, _called(email_addresses.create, TENANT, new, tags={})),
            partial(self._store.write, _called(email_addresses.delete, TENANT, INSTANCE, new.id)),
        )

    def delete(self) -> Measured:
        old = email_address(self._tens() + 8)
        return Measured(
            partial(self._store.write, _called(email_addresses.delete, TENANT, INSTANCE, old.id)),
            partial(self._store.write, _called(email_addresses.create, TENANT, old, tags={})),
        )

    def accept(self) -> Measured:
        return Measured(partial(self._store.write, accepting(self._alias(), self._new_id(), RAW)))

    def _new_id(self) -> str:
        return f"019f{uuid.uuid4().hex[4:]}"  # newer than all messages in the store

    def search(self, field: Field, comparison: Comparison, value: Callable[[EmailAddress], str]) -> Measured:
        condition = search.text(field, comparison, value(self._any()))
        options = {"after": None, "limit": 100, "count_up_to": 10_000}
        page = _called(email_addresses.search_page, TENANT, INSTANCE, condition, **options)
        return Measured(lambda: self._store.long_read(page, what=READ))

    def inbox(self, of: EmailAddress | None = None, *, limit: int = 5) -> Measured:
        address = (of or self._alias()).address
        page = _called(trace.inbox, account=TENANT.account, address=address, after=None, limit=limit)
        return Measured(lambda: self._store.long_read(page, what=READ))

    def claim(self) -> Measured:
        claim, now = str(uuid.uuid4()), _now()
        found = {"destination": DESTINATION, "claim": claim, "now": now, "lease": timedelta(minutes=5), "limit": 10}
        return Measured(
            partial(self._store.write, _called(attempt.claim, DEPLOYMENT, **found)),
            partial(self._store.write, _called(attempt.release, claim=claim, now=now)),
        )


def accepting(recipient: EmailAddress, message_id: str, raw: bytes) -> Callable[[ports.WriteTx], object]:
    """Return the use case that accepts a message for an email address."""
    to = recipient.address
    envelope = Envelope(
        sender="a@example.org", recipients=(to.text,), helo="client", peer="192.0.2.1", protocol="ESMTP"
    )
    content = accept.examine(raw, hostname=DEPLOYMENT.hostname, sender=envelope.sender)
    return _called(
        accept.accept_message,
        DEPLOYMENT,
        message_id=message_id,
        envelope=envelope,
        recipients=[to],
        content=content,
        raw=raw,
        now=_now(),
    )


SEARCHES: dict[str, tuple[Field, Comparison, Callable[[EmailAddress], str]]] = {
    "search, exact": (Field.ADDRESS, Comparison.EXACT, lambda one: one.address.text),
    "search, exact, without a match": (Field.ADDRESS, Comparison.EXACT, lambda one: f"x{one.address.text}"),
    "search, prefix, one match": (Field.ADDRESS, Comparison.STARTS_WITH, lambda one: one.address.text[:-12]),
    "search, contains, one match": (Field.ADDRESS, Comparison.CONTAINS, lambda one: one.address.text[3:-12]),
    "search, prefix of 12 letters": (Field.ADDRESS, Comparison.STARTS_WITH, lambda one: one.address.text[:12]),
    "search, prefix of 3 letters": (Field.ADDRESS, Comparison.STARTS_WITH, lambda one: one.address.text[:3]),
    "search, contains 8 letters": (Field.ADDRESS, Comparison.CONTAINS, lambda one: one.address.text[4:12]),
    "search, contains 3 letters": (Field.ADDRESS, Comparison.CONTAINS, lambda one: one.address.text[5:8]),
    "search, contains what all have": (Field.ADDRESS, Comparison.CONTAINS, lambda _: ".example.com"),
    "search, contains a name": (Field.DISPLAY_NAME, Comparison.CONTAINS, lambda one: str(one.display_name)[:9]),
    "search, contains a team": (Field.DESCRIPTION, Comparison.CONTAINS, lambda one: str(one.description)[-9:]),
}
"""The searches, each with its field, its comparison, and the value for a randomly chosen email address."""


def of_addresses(operations: Operations) -> dict[str, Callable[[], Measured]]:
    """Return the operations that are measured while the number of email addresses grows, by name."""
    return {
        "RCPT": operations.rcpt,
        "DescribeEmailAddress": operations.describe,
        "AssociateEmailAddressAlias": operations.associate,
        "DisassociateEmailAddressAlias": operations.disassociate,
        "CreateEmailAddress": operations.create,
        "DeleteEmailAddress": operations.delete,
        "accept a message for an alias": operations.accept,
        **{name: partial(operations.search, *one) for name, one in SEARCHES.items()},
    }


def of_messages(operations: Operations) -> dict[str, Callable[[], Measured]]:
    """Return the operations that are measured while the number of messages grows, by name."""
    return {
        "accept a message for an alias": operations.accept,
        "list 5 messages of an inbox": operations.inbox,
        "list 50 of the inbox with half of all mail": partial(operations.inbox, LARGE, limit=50),
        "claim 10 deliveries": operations.claim,
        "DescribeEmailAddress": operations.describe,
    }


def _called(use_case: Callable[..., object], *arguments: object, **options: object) -> Callable[..., object]:
    return lambda tx: use_case(tx, *arguments, **options)


def _now() -> datetime:
    return datetime.now(UTC)
