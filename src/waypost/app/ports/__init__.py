"""The interfaces that the use cases need: a store with transactions, the clock, the sender checks, and limits.

A use case is a function that takes a transaction `tx` and some values. The API, the mail server and the workers run a
use case with `await store.read(…)` or `await store.write(…)`. When `write` returns, all of the use case's changes are
durable. If `write` raises an exception, the use case has changed nothing.

Each file in this folder covers one subject. In each file, the protocol `ReadX` has the methods that read data on the
subject, and the protocol `WriteX` has the methods that change data. The module `store` combines the protocols of all
files into `ReadTx` and `WriteTx`.
"""

from waypost.app.ports.calls import CallKey, RememberedCall
from waypost.app.ports.directory import Description, Owners, SearchPage
from waypost.app.ports.limits import Counts, LimitState, Times
from waypost.app.ports.mail_changes import (
    CHANGES_LOCK,
    NEW_MESSAGE,
    REMOVAL,
    Change,
    Count,
    Event,
    Flow,
    MailMark,
    NewChange,
    NotedDelivery,
    NotNoted,
    Way,
)
from waypost.app.ports.mail_index import Hit, MailEntry, MailText, NotIndexed
from waypost.app.ports.mailbox import ListedDelivery, ListedMessage, Place
from waypost.app.ports.notices import OWNER_OF_LOOP, Owed, Owing
from waypost.app.ports.outside import Authenticator, Clock
from waypost.app.ports.queue import Backlog, Claimed, DeadLetter, Held, QueueLine, Waiting
from waypost.app.ports.refusals import Refusal
from waypost.app.ports.store import (
    Damaged,
    OnCommit,
    ReadTx,
    Store,
    StoreUnavailable,
    TookTooLong,
    WriteTx,
    not_measured,
)

__all__ = [
    "CHANGES_LOCK",
    "NEW_MESSAGE",
    "OWNER_OF_LOOP",
    "REMOVAL",
    "Authenticator",
    "Backlog",
    "CallKey",
    "Change",
    "Claimed",
    "Clock",
    "Count",
    "Counts",
    "Damaged",
    "DeadLetter",
    "Description",
    "Event",
    "Flow",
    "Held",
    "Hit",
    "LimitState",
    "ListedDelivery",
    "ListedMessage",
    "MailEntry",
    "MailMark",
    "MailText",
    "NewChange",
    "NotIndexed",
    "NotNoted",
    "NotedDelivery",
    "OnCommit",
    "Owed",
    "Owing",
    "Owners",
    "Place",
    "QueueLine",
    "ReadTx",
    "Refusal",
    "RememberedCall",
    "SearchPage",
    "Store",
    "StoreUnavailable",
    "Times",
    "TookTooLong",
    "Waiting",
    "Way",
    "WriteTx",
    "not_measured",
]
