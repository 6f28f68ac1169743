"""The cost of each call and each message in round trips to PostgreSQL: docs/scaling.md has the measured numbers."""

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.kit.stores import postgresql
from tests.kit.stores.counting_proxy import CountingProxy
from tests.kit.values import NOW, TENANT, NoSeal, an_email_address, make_instance
from waypost.api.operations import table
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.directory import access_keys, aliases, email_addresses, idempotency, instances, tags
from waypost.app.mail import accept, trace
from waypost.domain import errors
from waypost.domain.directory import addresses, search
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.mail import messages
from waypost.domain.mail.messages import Envelope
from waypost.store.postgres import store as postgres

PAGE = Path(__file__).parents[3] / "docs" / "scaling.md"
ROW = re.compile(r"\| (?P<name>[^|]+?) \| (?P<trips>\d+) \| (?P<sent>[\d,]+) \| (?P<received>[\d,]+) \|")
TOLERANCE = 0.1
"""The accepted relative difference in bytes between the measurement and the table, because names and numbers vary in
length."""

DEPLOYMENT = Deployment("mx.example.com", b"k" * 32)
RAW = b"Subject: Hello\r\n\r\n" + b"Hi there, this is a line.\r\n" * 150
KEY = AccessKey(id="AKIA" + "A" * 16, secret="s" * 40, account=TENANT.account, created_at=NOW)


@dataclass(frozen=True)
class Cost:
    trips: int
    sent: int
    received: int


def expected() -> dict[str, Cost]:
    _, table = PAGE.read_text(encoding="utf-8").split("\n## The cost of each call on PostgreSQL\n")
    rows = ROW.finditer(table)
    numbers = {row["name"]: [int(row[name].replace(",", "")) for name in ("trips", "sent", "received")] for row in rows}
    return {name: Cost(*costs) for name, costs in numbers.items()}


class Calls:
    """A PostgreSQL store behind a proxy, with a method for each row of the table."""

    def __init__(self, store, proxy):
        self._store = store
        self._proxy = proxy
        self._tokens = iter(range(10**6))

    async def begin(self):
        write = self._store.write
        await write(make_instance)
        await write(partial(access_keys.create, key=KEY))
        for name in ("p", "a", *(f"r{n}" for n in range(10))):
            await write(partial(self._create, name=name))

    def _create(self, tx, name):
        email_addresses.create(tx, TENANT, an_email_address(name), tags={"team": "blue"}, call=self._call())

    def _call(self):
        token = f"{next(self._tokens):036d}"
        return idempotency.TokenedCall(ports.CallKey(TENANT, "Operation", "i", token), b"f" * 32, timedelta(days=7))

    async def run(self, name):
        """Make the call of the table row `name`, and return the counts of this call alone."""
        self._counts = None
        self._before()
        await getattr(self, "_" + re.sub(r"\W+", "_", name.lower()))()
        return self._counts or self._proxy.counts

    def _before(self):
        self._proxy.reset()

    def _after(self):
        self._counts = self._proxy.counts

    async def _access_key_before_each_call(self):
        await self._store.read(lambda tx: access_keys.find(tx, KEY.id))

    async def _describeemailaddress(self):
        await self._store.read(lambda tx: email_addresses.describe(tx, TENANT, "i", "p"))

    async def _describeinstance(self):
        await self._store.long_read(lambda tx: instances.describe(tx, TENANT, "i"), what="the data of a test")

    async def _createinstance(self):
        self._made = f"i{next(self._tokens)}"
        await self._store.write(lambda tx: make_instance(tx, self._made))

    async def _deleteinstance_with_one_email_address(self):
        await self._createinstance()
        new = an_email_address(f"new{next(self._tokens)}", self._made)
        await self._store.write(lambda tx: email_addresses.create(tx, TENANT, new, tags={}))
        self._before()
        await self._store.write(lambda tx: instances.delete(tx, TENANT, self._made, now=NOW, call=self._call()))

    async def _listinstances(self):
        await self._store.long_read(
            lambda tx: instances.page(tx, TENANT, after="", limit=10), what="the data of a test"
        )

    async def _listtagsforresource(self):
        await self._store.long_read(lambda tx: tags.of(tx, TENANT, tags.Resource("i", "p")), what="the data of a test")

    async def _a_link_that_is_refused(self):
        with pytest.raises(errors.Conflict):
            await self._link()

    async def _message_that_is_shown(self):
        await self._send("r1")
        message_id = self._newest
        self._before()
        await self._store.long_read(
            partial(trace.message_details, account=TENANT.account, message_id=message_id), what="the data of a test"
        )

    async def _searchemailaddresses_the_only_page(self):
        found = search.text(search.Field.ADDRESS, search.Comparison.EXACT, "p@example.com")
        options = {"after": None, "limit": 100, "count_up_to": 10_000}
        await self._store.long_read(
            lambda tx: email_addresses.search_page(tx, TENANT, "i", found, **options), what="the data of a test"
        )

    async def _searchemailaddresses_one_of_more_pages(self):
        options = {"after": None, "limit": 5, "count_up_to": 10_000}
        await self._store.long_read(
            lambda tx: email_addresses.search_page(tx, TENANT, "i", search.Every(()), **options),
            what="the data of a test",
        )

    async def _createemailaddress(self):
        name = f"new{next(self._tokens)}"
        await self._store.write(partial(self._create, name=name))

    async def _createemailaddress_with_a_quota(self):
        new = an_email_address(f"new{next(self._tokens)}")
        create = partial(email_addresses.create, tenant=TENANT, email_address=new, tags={"team": "blue"}, quota=500)
        await self._store.write(lambda tx: create(tx, call=self._call()))

    async def _updateemailaddressmetadata(self):
        texts = {"display_name": f"Number {next(self._tokens)}", "description": None}
        update = partial(email_addresses.update_metadata, tenant=TENANT, instance_id="i", email_address_id="p", now=NOW)
        await self._store.write(lambda tx: update(tx, call=self._call(), **texts))

    async def _deleteemailaddress(self):
        name = f"gone{next(self._tokens)}"
        await self._store.write(partial(self._create, name=name))
        self._before()
        await self._store.write(lambda tx: email_addresses.delete(tx, TENANT, "i", name))

    async def _associateemailaddressalias(self):
        await self._unlink()
        self._before()
        await self._link()

    async def _disassociateemailaddressalias(self):
        await self._unlink()
        self._after()
        await self._link()

    async def _link(self):
        link = partial(aliases.associate, tenant=TENANT, instance_id="i", primary_id="p", alias_id="a", now=NOW)
        await self._store.write(lambda tx: link(tx, call=self._call()))

    async def _unlink(self):
        unlink = partial(aliases.disassociate, tenant=TENANT, instance_id="i", primary_id="p", alias_id="a", now=NOW)
        await self._store.write(lambda tx: unlink(tx, call=self._call()))

    async def _tagresource(self):
        await self._store.write(lambda tx: tags.add(tx, TENANT, tags.Resource("i", "p"), {"team": "red"}))

    async def _untagresource(self):
        await self._store.write(lambda tx: tags.remove(tx, TENANT, tags.Resource("i", "p"), ["cost"]))

    async def _rcpt(self):
        to, where = addresses.parse("p@example.com"), DEPLOYMENT
        await self._store.read(partial(accept.check_recipient, deployment=where, address=to, sender="", now=NOW))

    async def _message_to_an_address(self):
        await self._send("r1")

    async def _message_to_an_alias(self):
        await self._send("a")

    async def _message_to_ten_addresses(self):
        await self._send(*(f"r{n}" for n in range(10)))

    async def _message_of_5_mib(self):
        await self._send("r1", raw=RAW * (5 * 2**20 // len(RAW)))

    async def _send(self, *names, raw=RAW):
        recipients = [addresses.parse(f"{name}@example.com") for name in names]
        to = tuple(each.text for each in recipients)
        envelope = Envelope(sender="a@example.org", recipients=to, helo="client", peer="192.0.2.1", protocol="ESMTP")
        self._newest = message_id = messages.new_id(NOW, next(self._tokens), b"12345678")
        arrived = partial(
            accept.accept_message,
            deployment=DEPLOYMENT,
            message_id=message_id,
            envelope=envelope,
            content=accept.examine(b"", hostname=DEPLOYMENT.hostname, sender=envelope.sender),
        )
        await self._store.write(lambda tx: arrived(tx, recipients=recipients, raw=raw, now=NOW), may_share=True)

    async def _list_of_an_inbox(self):
        inbox = partial(trace.inbox, account=TENANT.account, address=addresses.parse("a@example.com"))
        await self._store.long_read(lambda tx: inbox(tx, after=None, limit=50), what="the data of a test")


@pytest.fixture(scope="module")
def counted():
    """The measured cost of each row of the table, by the row's name."""
    url = postgresql.new_database()
    with CountingProxy(postgresql.address_of(url)) as proxy:
        found = asyncio.run(count(proxy, proxy.url(url)))
    postgresql.drop_database(url)
    return found


async def count(proxy, url):
    store = postgres.PostgresStore(url, NoSeal(), connections=5)
    calls = Calls(store, proxy)
    try:
        await calls.begin()
        await calls._link()
        found = {}
        for name in expected():
            for _ in range(2):  # the second run uses statements that the first run has prepared
                counts = await calls.run(name)
            found[name] = Cost(counts.round_trips, counts.octets_from_client, counts.octets_from_server)
        return found
    finally:
        await store.close()


def test_the_page_states_the_measured_number_of_round_trips(counted):
    assert {name: cost.trips for name, cost in counted.items()} == {
        name: cost.trips for name, cost in expected().items()
    }


def test_the_page_lists_every_operation():
    first_words = {re.split(r"\W", name)[0] for name in expected()}
    assert set(table.OPERATIONS) <= first_words


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_the_page_states_about_the_measured_number_of_bytes(counted, direction):
    for name, cost in expected().items():
        assert getattr(counted[name], direction) == pytest.approx(getattr(cost, direction), rel=TOLERANCE), name
