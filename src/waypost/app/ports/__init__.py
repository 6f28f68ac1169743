"""What the use cases ask of the world: a store with transactions, and the time.

A use case is a function of a transaction `tx` and values. An edge runs it by `await store.read(…)` or
`await store.write(…)`. Everything a write did is durable when `write` returns, or nothing of it happened.
"""

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from waypost.domain.directory import search
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Instance, Tenant
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail.delivery import Delivery, Queued, Status
from waypost.domain.mail.messages import Message
from waypost.domain.mail.retention import Delivered, Inbox
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth.enforcement import Findings
from waypost.domain.mailauth.verdicts import Claim

T = TypeVar("T")

Clock = Callable[[], datetime]
"""The present moment, in UTC, to the millisecond."""


class Authenticator(Protocol):
    """Finds out whether mail comes from whom it says (SPF, DKIM, DMARC)."""

    async def check(self, claim: Claim, octets: AsyncIterable[bytes], size: int) -> Findings:
        """What is found of a message of `size` octets, or why nothing is. Never raises, and ends soon."""
        ...


class StoreUnavailable(Exception):
    """The store cannot answer now (closed, locked, disk full, gone). A retry may succeed.

    Nothing was done; or, where the connection broke at the COMMIT, nobody knows whether it was.
    """


class TookTooLong(StoreUnavailable):
    """A search used up its time and was given up. A search that reads less may succeed."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is the time that the search had."""
        super().__init__(f"A search took more than {seconds:g} seconds, so it was given up.")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One line of a message's trace: when, what happened (a word from `app.trace`), and the details."""

    at: datetime
    kind: str
    detail: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Description:
    """An email address with what belongs to it."""

    email_address: EmailAddress
    link: AliasLink | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Some of the email addresses that were searched for, each with its link, in an order that stays the same."""

    found: list[tuple[EmailAddress, AliasLink | None]]
    total: int
    """How many there are in all, counted no further than was asked; where there are very many, an estimate."""
    next_after: str | None
    """Where the next page begins, in the store's own words; None if there is none."""


@dataclass(frozen=True, slots=True)
class CallKey:
    """What makes two calls with a client token the same call. `scope` is the instance id, or empty."""

    tenant: Tenant
    operation: str
    scope: str
    token: str


@dataclass(frozen=True, slots=True)
class RememberedCall:
    """The outcome of a call that was made with a client token."""

    fingerprint: bytes
    answer: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns some addresses, at one moment."""

    found: Mapping[str, tuple[EmailAddress, EmailAddress | None]]
    """By address key: the owner, with its primary if it is an alias."""
    routes_revision: str
    """Which routes hold at this moment, for `stored_routes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A delivery of the queue that is ours to change: until the transaction ends, or for a claim its lease."""

    delivery: Delivery
    queued: Queued
    claim: str
    """By which the store knows that it is still ours."""
    because: str = ""
    """Why the last attempt failed; empty if there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Held):
    """A delivery of the queue that is ours to attempt, until the lease ends."""

    message: Message


OWNER_OF_LOOP = "loop"
"""In place of an `Action`: the owner of an email address is to be told of a loop."""


@dataclass(frozen=True, slots=True)
class Owing:
    """What one notice is to tell of: a message, and what became of it."""

    message_id: str
    action: str
    """An `Action` of `domain.notices`, or `OWNER_OF_LOOP`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What a notice is to tell of one recipient."""

    message_id: str
    action: str
    recipient: str
    """As the sender wrote it; empty for `OWNER_OF_LOOP`."""
    email_address_id: str
    """Whose delivery it is about."""
    at: datetime
    fate: Mapping[str, str | int]
    """What became of the delivery, in the words of `app.notify`."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A destination for which deliveries wait, and when the first of them is due; or when its lease ends."""

    destination: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A delivery that waits, as people see it in a list."""

    delivery: Delivery
    queued_at: datetime
    due_at: datetime
    attempts: int
    is_claimed: bool
    because: str
    """Why the last attempt failed; empty if there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Mail that was refused, so that somebody who asks for it can be told."""

    at: datetime
    peer: str
    helo: str
    sender: str
    recipient: str
    """As the client wrote it; empty where a message was refused as a whole and nobody knows for whom."""
    recipient_key: str
    """By which addresses are compared; empty if it is no address."""
    stage: str
    """mail, rcpt, or message."""
    reply: str
    detail: Mapping[str, str | int]
    account: str = ""
    """The account that owned the recipient when this happened; empty if nobody did."""


class ReadTx(Protocol):
    """A consistent view of the store. Methods return None or an empty list where there is nothing."""

    def instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        """The instance with this id, if it is the tenant's."""
        ...

    def instances(self, tenant: Tenant, *, after: str, limit: int) -> list[Instance]:
        """In the order of their ids, those behind `after` (empty: from the start)."""
        ...

    def regions(self) -> list[str]:
        """The regions that instances are in, whoever's they are. Looks at all instances."""
        ...

    def has_instance_alias(self, alias: str) -> bool:
        """Whether an instance of anybody's has this alias, without regard to case."""
        ...

    def description(self, tenant: Tenant, instance_id: str, email_address_id: str) -> Description | None:
        """An email address of the tenant's instance, in one look-up with its link and its tags."""
        ...

    def search(
        self,
        tenant: Tenant,
        instance_id: str,
        condition: search.Condition,
        *,
        after: str | None,
        limit: int,
        count_up_to: int,
    ) -> SearchPage | None:
        """A page of the email addresses that fulfil a condition, behind `after`; None if there is no such instance.

        Every page of one search is in the same order, so each email address that is there all the time comes once.
        """
        ...

    def count_email_addresses(self, instance_id: str, *, up_to: int) -> int:
        """How many an instance has, counted no further than `up_to`."""
        ...

    def email_address_by_key(self, address_key: str) -> EmailAddress | None:
        """The owner of an address in the whole deployment, whoever's it is: mail has no tenant."""
        ...

    def owners(self, address_keys: Sequence[str]) -> Owners:
        """The owners of addresses at one moment, and which routes hold then."""
        ...

    def routes_revision(self) -> str:
        """Which routes hold now."""
        ...

    def stored_routes(self, revision: str) -> tuple[Route, ...]:
        """The routes that were set by command, in their order: of this revision, or of now if it holds no more."""
        ...

    def waiting(self) -> list[Waiting]:
        """The destinations for which deliveries wait. Takes as long as there are destinations, not deliveries."""
        ...

    def destinations_of(self, account: str, *, limit: int) -> list[Waiting]:
        """As `waiting`, only those for which something of an account waits."""
        ...

    def queue(self, account: str, *, destination: str | None, after: str, limit: int) -> list[QueueLine]:
        """Deliveries of an account that wait, in the order of their ids (`Delivery.id`), those behind `after`."""
        ...

    def count_queued(self, account: str, destination: str, *, up_to: int) -> int:
        """How many of an account wait for a destination, counted no further than `up_to`."""
        ...

    def dead_letters(
        self, account: str, *, address_key: str | None, since: datetime | None, after: str, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """Deliveries of an account that were given up, in the order of their ids, those behind `after`.

        `since`: only of messages received from this moment on.
        """
        ...

    def messages_with_header_id(self, account: str, header_id: str, *, limit: int) -> list[Message]:
        """Messages with this Message-ID that were delivered to this account, newest first."""
        ...

    def messages_between(self, first: str, last: str, *, limit: int) -> list[Message]:
        """Messages with ids from `first` to `last`, whoever's they are."""
        ...

    def all_deliveries_of(self, message_id: str) -> list[Delivery]:
        """The deliveries of a message, whoever's they are."""
        ...

    def has_address_in(self, account: str, domain: str) -> bool:
        """Whether an account has an email address in a domain (as A-labels), but not in one below it."""
        ...

    def others_have_address_in(self, account: str, domain: str) -> bool:
        """Whether another account has one."""
        ...

    def inboxes(self, *, after: Inbox | None, limit: int) -> list[Inbox]:
        """Where there is mail, in the order of accounts and addresses, behind `after`."""
        ...

    def delivered(self, inbox: Inbox, *, before: str, limit: int) -> list[Delivered]:
        """Deliveries of an inbox that wait for nothing, newest first, of messages with ids below `before`."""
        ...

    def delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        """A delivery, whoever's it is."""
        ...

    def owed(self, *, now: datetime, soon: datetime, owed_before: datetime) -> Owing | None:
        """The next notice to write; None if there is none now.

        One waits while a delivery of its message is being attempted, or is due by `soon`, unless it is owed since
        before `owed_before`. So one notice tells of all recipients of which it can.
        """
        ...

    def refusals_of(
        self, recipient_key: str, *, account: str, and_nobodys: bool, since: datetime, limit: int
    ) -> list[Refusal]:
        """Mail for an address that was refused while an account owned it, newest first.

        `and_nobodys`: also what was refused while nobody owned the address.
        """
        ...

    def email_address_by_id(self, email_address_id: str) -> EmailAddress | None:
        """Whoever's it is; for following a link, both ends of which are in one instance."""
        ...

    def links_of(self, email_address_ids: Sequence[str]) -> dict[str, AliasLink]:
        """The one alias link that each of these email addresses is in, on either side, by its id."""
        ...

    def instance_tags(self, tenant: Tenant, instance_id: str) -> dict[str, str]:
        """The tags of the tenant's instance."""
        ...

    def access_key(self, access_key_id: str) -> AccessKey | None:
        """The access key with this id, whoever's it is."""
        ...

    def access_keys(self) -> list[AccessKey]:
        """All access keys, the oldest first."""
        ...

    def message(self, account: str, message_id: str) -> Message | None:
        """A message that was delivered to an email address of this account."""
        ...

    def messages_begun(self, *, before: datetime, limit: int) -> list[str]:
        """Messages that began to come in before a moment and are none yet; the oldest first, `limit` at most."""
        ...

    def octets(self, message_id: str, *, start: int, limit: int) -> bytes:
        """Of the bytes of a message that exists, as sent after DATA: those from `start` on, `limit` at most."""
        ...

    def deliveries_of(self, account: str, message_id: str) -> list[Delivery]:
        """The deliveries of a message to this account; the direct ones first."""
        ...

    def deliveries_at(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """Newest first, those older than the message `after`, `limit` at most."""
        ...

    def deliveries_kept(
        self, account: str, *, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """What is in all inboxes of an account: newest first, those behind `after`, `limit` at most.

        `after` is the id of a message and that of an email address; an empty one is behind no other of the message.
        """
        ...

    def deliveries_to(
        self, account: str, address_key: str, *, after: str | None, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """As `deliveries_at`, also those that are not kept in the inbox, and those that were sent to it as an alias."""
        ...

    def trace(self, message_id: str) -> list[TraceEvent]:
        """What happened to a message, in order, whoever it concerns."""
        ...

    def events_about(self, message_id: str, kind: str, address: str, *, limit: int) -> list[TraceEvent]:
        """What happened of one kind for one address, the first `limit` times, in order."""
        ...


class WriteTx(ReadTx, Protocol):
    """A transaction that changes the store. An exception undoes all that was done through it.

    Where a named constraint of the store is broken, `errors.Duplicate`, `errors.Conflict` or `errors.NotFound` is
    raised, by the method or at the end of the transaction. What one transaction holds, another that asks for it
    waits for; if it waits too long, `errors.Busy` is raised.
    """

    def hold(self, what: str) -> None:
        """Hold a name of ours, so that those who do the same thing at the same time do it in turn."""
        ...

    def keep_domain(self, account: str, domain: str, *, name: str) -> bool:
        """Whether an account has an email address in a domain, and now nobody gets `name` by `hold`.

        Several transactions may do so at once. Waits for nobody: False also if somebody holds the name, or nobody ever
        has.
        """
        ...

    def lock_instance(self, tenant: Tenant, instance_id: str) -> Instance | None:
        """The tenant's instance with this id, held until the transaction ends. Nothing is added to it meanwhile."""
        ...

    def lock_email_addresses(self, tenant: Tenant, instance_id: str, ids: Sequence[str]) -> dict[str, EmailAddress]:
        """The email addresses with these ids in the tenant's instance, by id, held until the transaction ends."""
        ...

    def add_instance(self, instance: Instance, tags: Mapping[str, str]) -> None:
        """A new instance with its tags."""
        ...

    def remove_instance(self, instance_id: str) -> None:
        """With its email addresses, their links and tags. Messages and deliveries stay."""
        ...

    def add_email_address(self, email_address: EmailAddress, tags: Mapping[str, str]) -> None:
        """A new email address with its tags."""
        ...

    def update_email_address(self, email_address: EmailAddress) -> None:
        """Its display name, its description, and when it was modified; the rest never changes."""
        ...

    def remove_email_address(self, email_address_id: str) -> None:
        """With its link, on either side, and its tags. Messages and deliveries stay."""
        ...

    def put_tags(self, resource_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to an instance or email address; a key that is there gets the new value."""
        ...

    def remove_tags(self, resource_id: str, keys: Sequence[str]) -> None:
        """Take tags off an instance or email address; a key that is not there is no matter."""
        ...

    def add_link(self, link: AliasLink) -> None:
        """A new alias link between two email addresses that exist."""
        ...

    def remove_link(self, link: AliasLink) -> None:
        """End a link, at both of its ends."""
        ...

    def claim_call(self, key: CallKey) -> RememberedCall | None:
        """What a client token was answered, however long ago. The token is held, answered or not."""
        ...

    def remember_call(self, key: CallKey, call: RememberedCall) -> None:
        """Replaces what was remembered under this key, if anything."""
        ...

    def forget_calls(self, *, before: datetime, limit: int) -> int:
        """Forget the oldest calls made before a moment, `limit` at most; returns how many."""
        ...

    def correct_calls(self, *, now: datetime, limit: int) -> int:
        """Calls that were made after `now`, `limit` at most, were made at that moment; returns how many."""
        ...

    def first_time(self, what: str) -> bool:
        """Whether this is the first time, in the life of the deployment, that this is asked for `what`."""
        ...

    def add_access_key(self, key: AccessKey) -> None:
        """A new access key. Its secret is sealed before it is kept."""
        ...

    def activate_access_key(self, access_key_id: str, *, active: bool) -> None:
        """Make an access key usable, or not."""
        ...

    def remove_access_keys_expired(self, *, before: datetime) -> None:
        """Remove the temporary access keys that ended before a moment."""
        ...

    def remove_access_key(self, access_key_id: str) -> None:
        """For good."""
        ...

    def add_octets(self, message_id: str, octets: bytes, *, start: int, now: datetime) -> None:
        """Bytes of a message that is still coming in, from place `start` on. They are nobody's until `add_message`.

        Raises `StoreUnavailable` if those before them are gone.
        """
        ...

    def trim_octets(self, message_id: str, *, limit: int) -> int:
        """Let go of some of what came of a message that will not become one; returns how many pieces that were."""
        ...

    def remove_octets(self, message_id: str) -> bool:
        """Let go of what came of a message that will not become one. False if nothing did, or it is one now."""
        ...

    def add_message(
        self,
        message: Message,
        octets: bytes,
        deliveries: Sequence[Delivery],
        trace: Sequence[TraceEvent],
        *,
        warn_at: datetime | None = None,
    ) -> None:
        """A new message, the last of its bytes, its deliveries, and the first lines of its trace.

        Deliveries that are `queued` are in the queue, due at once. `warn_at`: when `take_late` gives them.

        Those before came by `add_octets`; raises `StoreUnavailable` if they are gone.
        """
        ...

    def claim(self, destination: str, *, claim: str, now: datetime, lease_until: datetime, limit: int) -> list[Claimed]:
        """Take deliveries that are due for a destination, the longest due first; nobody else gets them meanwhile."""
        ...

    def lock_overdue(self, *, queued_before: datetime, now: datetime, limit: int) -> list[Held]:
        """Deliveries that were queued before a moment, and that nobody is attempting; the oldest first.

        They are held until the transaction ends, so that `finish` takes them out of the queue.
        """
        ...

    def take_late(self, *, now: datetime, limit: int) -> list[Held]:
        """Deliveries whose sender is to be told by now that they are late. Each is given once."""
        ...

    def release(self, claim: str, *, due_at: datetime) -> int:
        """Give back what is still held by a claim, due at a moment. No attempt is counted. Returns how many."""
        ...

    def release_all(self, *, due_at: datetime) -> None:
        """Give back whatever anybody holds: nobody else can be at work here."""
        ...

    def renew(self, claim: str, *, lease_until: datetime) -> set[str]:
        """Hold what is still held by a claim for longer. Returns the ids of these deliveries."""
        ...

    def correct_queue(
        self, *, now: datetime, due_by: datetime, leased_by: datetime, lease_until: datetime, limit: int
    ) -> int:
        """Correct times of the queue that cannot be right at `now`, up to `limit` of each kind; returns how many.

        A delivery that was queued after `now` counts as queued at `now`; when it is due and when its sender is warned
        move back by as much. A delivery without a claim is due by `due_by`. A lease that ends after `leased_by` ends at
        `lease_until`.
        """
        ...

    def finish(self, claimed: Held) -> bool:
        """Take a delivery out of the queue. False, and nothing happens, if it is not ours any more."""
        ...

    def defer(self, claimed: Held, *, due_at: datetime, because: str) -> bool:
        """Count an attempt, and give the delivery back until a moment. False if it is not ours any more.

        `because` says why the attempt failed.
        """
        ...

    def move(self, claimed: Held, *, destination: str, due_at: datetime) -> bool:
        """Give a delivery back, for another destination. No attempt is counted. False if it is not ours any more."""
        ...

    def enqueue(self, delivery: Delivery, *, now: datetime) -> bool:
        """Put a delivery that exists into the queue again, as if it were new. False if it is there already."""
        ...

    def update_delivery(self, delivery: Delivery, *, status: Status, kept: bool, destination: str) -> None:
        """How far a delivery has come."""
        ...

    def lock_delivery(self, message_id: str, email_address_id: str) -> Delivery | None:
        """A delivery, whoever's it is, held until the transaction ends."""
        ...

    def add_delivery(self, delivery: Delivery) -> None:
        """One more delivery of a message that exists; what is `queued` is put into the queue by `enqueue`."""
        ...

    def add_events(self, message_id: str, events: Sequence[TraceEvent]) -> None:
        """The next lines of a message's trace, behind those that are there."""
        ...

    def remove_octets_if_spent(self, message_id: str) -> bool:
        """Let go of the bytes of a message that nobody can need.

        No delivery of it is kept, queued or dead, and no notice about it is owed.
        """
        ...

    def owe(self, owed: Sequence[Owed]) -> None:
        """Write down notices that are owed. One that is owed already keeps its age, and gets the new fate."""
        ...

    def take_owed(self, owing: Owing, *, limit: int) -> list[Owed]:
        """Some of what one notice tells of, in the order of the recipients. It is owed no more."""
        ...

    def drop_owed(self, owing: Owing, *, limit: int) -> int:
        """Delete what `take_owed` would give, without reading it. Returns for how many recipients."""
        ...

    def remove_delivered(self, inbox: Inbox, message_ids: Sequence[str]) -> list[str]:
        """Let go of deliveries of an inbox, of these messages; those that are queued or dead stay. Returns of which."""
        ...

    def end_messages(self, message_ids: Sequence[str], *, now: datetime) -> list[str]:
        """Let go of those of these messages that have no delivery any more, but for their bytes, and tell which.

        Their bytes go like those of messages that never came to their end.
        """
        ...

    def add_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Keep some refusals, for a while."""
        ...

    def forget_refusals(self, *, before: datetime, limit: int) -> int:
        """Forget the oldest refusals of before a moment, `limit` at most; returns how many."""
        ...

    def put_routes(self, routes: Sequence[Route], *, revision: str) -> None:
        """Replace all routes that were set by command, and their revision. Their secrets are sealed."""
        ...


class Store(Protocol):
    """Runs use cases. Every method raises `StoreUnavailable` if it could not."""

    async def read(self, use_case: Callable[[ReadTx], T]) -> T:
        """Run a use case of one point look-up or a few, each of which sees what is committed by then."""
        ...

    async def search(self, use_case: Callable[[ReadTx], T], *, account: str = "") -> T:
        """Run a use case that may read much (lists, bodies) on one consistent view, without holding up anyone.

        The accounts that searches are for have their turns, so that many searches for one hold up no other. Without an
        `account` it is for the server itself, which has its turn too.

        Raises `TookTooLong` if it uses up the time that one search may take.
        """
        ...

    async def write(self, use_case: Callable[[WriteTx], T]) -> T:
        """Run a use case that changes things. It may run more than once, and counts once."""
        ...

    def reusable_octets(self) -> int:
        """Room within files of the store, for which the disk need not have any; zero where nobody knows."""
        ...

    async def close(self) -> None:
        """Finish the writes that wait, and let go of everything. Later calls raise `StoreUnavailable`."""
        ...
