"""Planned deliveries of a server that was killed: the next server stores them."""

import asyncio
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from tests.kit.patience import PATIENCE, until
from tests.kit.stores.calls import all_deliveries_of
from tests.kit.values import NOW, an_email_address
from tests.server.test_roles import Running
from waypost.app.deployment import Deployment
from waypost.app.mail import accept
from waypost.domain.mail.messages import Envelope
from waypost.host.data_directory import DataDirectory
from waypost.observe import events
from waypost.server import maintenance, opening
from waypost.server.assembly import http

NAMES = [f"r{number:02}" for number in range(accept.STORED_AT_ONCE + 10)]
RAW = b"Subject: hello\r\n\r\nHello.\r\n"
DEPLOYMENT = Deployment("mx.example.com", b"k" * 32)


def accept_without_storing(tx, *, instance_id, message_id="m1", now=NOW):
    """Accept a message, but do not store its planned deliveries, as if the server was killed in between."""
    created = [an_email_address(name, instance_id) for name in NAMES]
    for email_address in created:
        if tx.email_address_by_key(email_address.address.key) is None:
            tx.add_email_address(email_address, {})
    recipients = [email_address.address for email_address in created]
    envelope = Envelope(
        sender="a@client.example",
        recipients=tuple(address.text for address in recipients),
        helo="client.example",
        peer="127.0.0.1",
        protocol="ESMTP",
    )
    accept.accept_message(
        tx,
        DEPLOYMENT,
        message_id=message_id,
        envelope=envelope,
        recipients=recipients,
        content=accept.examine(RAW, hostname=DEPLOYMENT.hostname, sender=envelope.sender),
        raw=RAW,
        now=now,
    )


async def wait_for_store(directory, condition):
    """Wait until a condition on the store is true."""
    async with asyncio.timeout(PATIENCE):
        while not await opening.administer(directory, condition):  # noqa: ASYNC110 - another server changes the store
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "accepted_at", [NOW, NOW + timedelta(days=1_000)], ids=["earlier", "before the clock went back"]
)
def test_a_server_stores_the_deliveries_that_a_killed_server_had_planned(tmp_path, accepted_at):
    async def scenario():
        running = await Running(tmp_path).start()
        await running.stop()
        use_case = partial(accept_without_storing, instance_id=running.service.instance_id, now=accepted_at)
        await opening.administer(DataDirectory(tmp_path), use_case)
        running = await Running(tmp_path).start()
        try:
            await wait_for_store(DataDirectory(tmp_path), lambda tx: not accept.planned(tx, now=NOW, age=timedelta()))
            deliveries = await opening.administer(DataDirectory(tmp_path), lambda tx: all_deliveries_of(tx, "m1"))
            assert [one.email_address_id for one in deliveries] == NAMES
        finally:
            await running.stop()

    asyncio.run(scenario())


def test_a_message_whose_deliveries_cannot_be_stored_does_not_delay_others(tmp_path):
    async def scenario():
        running = await Running(tmp_path).start()
        await running.stop()
        for message_id in ("m1", "m2"):
            use_case = partial(accept_without_storing, instance_id=running.service.instance_id, message_id=message_id)
            await opening.administer(DataDirectory(tmp_path), use_case)
        await opening.administer(
            DataDirectory(tmp_path),
            lambda tx: tx.connection.execute("UPDATE planned_deliveries SET part = 'no JSON' WHERE message_id = 'm1'"),
        )
        running = await Running(tmp_path).start()
        try:
            await until(lambda: running.emitted_of(events.Failed))
            await wait_for_store(DataDirectory(tmp_path), lambda tx: len(all_deliveries_of(tx, "m2")) == len(NAMES))
            assert {event.where for event in running.emitted_of(events.Failed)} == {"planned deliveries"}
        finally:
            await running.stop()

    asyncio.run(scenario())


def test_deliveries_are_stored_before_the_clock_is_advanced_so_that_they_do_not_miss_their_attempts():
    calls = []

    def recorded(name):
        async def record(*arguments):
            calls.append((name, *arguments[:1]))

        return record

    kept = SimpleNamespace(
        **{name: recorded(name) for name in ("store_planned", "forget_refusals", "purge", "remove_old_dead_letters")}
    )
    common = SimpleNamespace(virtual_clock=SimpleNamespace(advance=recorded("advance")))
    asyncio.run(http._advance(common, None, kept, asyncio.Lock())(timedelta(days=1)))
    assert calls[:2] == [("store_planned", timedelta()), ("advance", timedelta(days=1))]


def test_another_server_stores_the_deliveries_of_a_killed_server_in_its_next_round(tmp_path, monkeypatch):
    monkeypatch.setattr(maintenance, "PLAN_AGE", timedelta(milliseconds=10))

    async def scenario():
        running = await Running(tmp_path).start()
        try:
            use_case = partial(accept_without_storing, instance_id=running.service.instance_id)
            await opening.administer(DataDirectory(tmp_path), use_case)
            await wait_for_store(DataDirectory(tmp_path), lambda tx: len(all_deliveries_of(tx, "m1")) == len(NAMES))
        finally:
            await running.stop()

    asyncio.run(scenario())
