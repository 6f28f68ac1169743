"""Short forms of what the tests of the queue do most: each is a write or read of its own."""

from datetime import timedelta

from tests.kit.values import NOW, TENANT, a_delivery, a_message
from waypost.app.ports import TraceEvent

HERE, THERE = "smtp://here.example:25", "smtp://there.example:25"
LEASE = timedelta(minutes=15)
SECOND = timedelta(seconds=1)
RAW = b"hi"


def queue_up(store, *message_ids, names=("x",), to=HERE, at=NOW, warn_at=None, **of_delivery):
    """Messages that wait, one delivery for each name; returns the deliveries."""
    return [
        delivery
        for message_id in message_ids
        for delivery in add(
            store,
            *(a_delivery(name, message_id, to=to, **of_delivery) for name in names),
            received_at=at,
            warn_at=warn_at,
        )
    ]


def add(store, *deliveries, warn_at=None, **of_message):
    """A message with these deliveries; returns them."""
    message = a_message(deliveries[0].message_id, **of_message)
    trace = [TraceEvent(message.received_at, "accepted", {})]
    store.write(lambda tx: tx.add_message(message, RAW, deliveries, trace, warn_at=warn_at))
    return deliveries


def claiming(to=HERE, *, claim="c", now=NOW, lease=LEASE, limit=100):
    """The use case that claims what is due."""
    return lambda tx: tx.claim(to, claim=claim, now=now, lease_until=now + lease, limit=limit)


def claim(store, to=HERE, **options):
    return store.write(claiming(to, **{"claim": "c"} | options))


def one(store, **options):
    """The one delivery that is due, claimed."""
    (claimed,) = claim(store, **options)
    return claimed


def ids(claimed):
    """Which messages these are of."""
    return [each.delivery.message_id for each in claimed]


def waiting(store):
    """When the first is due, by destination."""
    return {each.destination: each.due_at for each in store.read(lambda tx: tx.waiting())}


def lines(store, account=TENANT.account, **options):
    """The queue as people see it."""
    given = {"destination": None, "after": "", "limit": 100} | options
    return store.long_read(lambda tx: tx.queue(account, **given))
