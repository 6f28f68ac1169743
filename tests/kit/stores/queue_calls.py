"""Short forms of the most frequent calls in the tests of the queue. Each call is a separate write or read."""

from datetime import timedelta

from tests.kit.values import NOW, TENANT, a_delivery, a_line, a_message

HERE, THERE = "smtp://here.example:25", "smtp://there.example:25"
LEASE = timedelta(minutes=15)
SECOND = timedelta(seconds=1)
RAW = b"hi"


def queue_up(store, *message_ids, names=("x",), to=HERE, at=NOW, warn_at=None, **of_delivery):
    """Store messages with a waiting delivery for each name, and return the deliveries."""
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
    """Store a message with these deliveries, and return the deliveries."""
    message = a_message(deliveries[0].message_id, **of_message)
    trace = [a_line("accepted", message.received_at)]
    store.write(lambda tx: tx.add_message(message, RAW, deliveries, trace, warn_at=warn_at))
    return deliveries


def claiming(to=HERE, *, claim="c", now=NOW, lease=LEASE, limit=100):
    """Return the use case that claims due deliveries."""
    return lambda tx: tx.claim(to, claim=claim, now=now, lease_until=now + lease, limit=limit)


def claim(store, to=HERE, **options):
    return store.write(claiming(to, **{"claim": "c"} | options))


def one(store, **options):
    """Claim the only due delivery, and return it."""
    (claimed,) = claim(store, **options)
    return claimed


def ids(claimed):
    """Return the message ids of claimed deliveries."""
    return [each.delivery.message_id for each in claimed]


def waiting(store):
    """Return the time of the first due delivery, by destination."""
    return {each.destination: each.due_at for each in store.read(lambda tx: tx.waiting())}


def lines(store, account=TENANT.account, **options):
    """Return the lines of the queue that the inspection API shows."""
    given = {"destination": None, "after": "", "limit": 100} | options
    return store.long_read(lambda tx: tx.queue(account, **given))
