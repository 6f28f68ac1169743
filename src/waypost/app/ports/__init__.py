"""The ports of the use cases: a store with transactions, and the time.

A use case is a function of a transaction `tx` and values. An edge runs it by `await store.read(…)` or `await
store.write(…)`. When `write` returns, everything that it did is durable; if it raises, nothing was done.

Each file has one subject: what can be read of it (`ReadX`) and how it is changed (`WriteX`). `store` combines all of
them into `ReadTx` and `WriteTx`.
"""

from waypost.app.ports.calls import CallKey, RememberedCall
from waypost.app.ports.directory import Description, Owners, SearchPage
from waypost.app.ports.notices import OWNER_OF_LOOP, Owed, Owing
from waypost.app.ports.outside import Authenticator, Clock
from waypost.app.ports.queue import Claimed, DeadLetter, Held, QueueLine, Waiting
from waypost.app.ports.refusals import Refusal
from waypost.app.ports.store import ReadTx, Store, StoreUnavailable, TookTooLong, WriteTx

__all__ = [
    "OWNER_OF_LOOP",
    "Authenticator",
    "CallKey",
    "Claimed",
    "Clock",
    "DeadLetter",
    "Description",
    "Held",
    "Owed",
    "Owing",
    "Owners",
    "QueueLine",
    "ReadTx",
    "Refusal",
    "RememberedCall",
    "SearchPage",
    "Store",
    "StoreUnavailable",
    "TookTooLong",
    "Waiting",
    "WriteTx",
]
