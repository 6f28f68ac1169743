"""A message is decided before the turn of its process, and decided again if the directory has changed since then."""

import asyncio
import threading
from contextlib import asynccontextmanager
from functools import partial

import pytest

from tests.kit.patience import PATIENCE, until
from tests.kit.stores.calls import associating, creating, deleting, disassociating
from tests.kit.stores.turns import is_waiting
from tests.kit.values import NOW, NoSeal, a_message, make_instance
from waypost.app.deployment import Deployment
from waypost.app.mail import accept
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail import messages
from waypost.store.sqlite import drafts
from waypost.store.sqlite import store as sqlite
from waypost.store.sqlite.transaction import SqliteTransaction

DEPLOYMENT = Deployment(hostname="waypost.example", loop_key=b"k")
FACTS = messages.read_header(b"Subject: Hello\r\n")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "waypost.sqlite3"


@asynccontextmanager
async def opened(path):
    """Open a store with the email addresses help@ and support@."""
    store = sqlite.SqliteStore(path, NoSeal())
    try:
        for use_case in (make_instance, creating("help"), creating("support")):
            await store.write(use_case)
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def busy(store):
    """Keep the writer of a store busy, so that later writes wait for the next batch."""
    begun, ended = threading.Event(), threading.Event()
    write = asyncio.create_task(store.write(lambda tx: (begun.set(), ended.wait(PATIENCE))))
    await asyncio.to_thread(begun.wait, PATIENCE)
    try:
        yield
    finally:
        ended.set()
        await write


def arriving(message_id="m1", *names, seen=None, deployment=DEPLOYMENT):
    """Return a use case that accepts a message, and adds the type of each transaction that it gets to `seen`."""
    message = a_message(message_id)

    def use_case(tx):
        if seen is not None:
            seen.append(type(tx))
        return accept.accept_message(
            tx,
            deployment,
            message_id=message_id,
            envelope=message.envelope,
            recipients=[addresses.parse(f"{name}@example.com") for name in names or ("help",)],
            content=accept.Content(FACTS, ()),
            raw=b"hi",
            now=NOW,
        )

    return use_case


def delivered(tx, message_id="m1"):
    return sorted(tx.recipients_of(message_id))


def test_a_message_is_decided_before_the_turn_and_the_writer_only_inserts_its_rows(path):
    async def scenario():
        async with opened(path) as store:
            await store.write(associating("support", "help"))
            accepted = await store.write(arriving(seen=seen), may_share=True)
            return accepted, await store.read(delivered), await store.read(lambda tx: tx.octets("m1", start=0, limit=9))

    seen = []
    accepted, found, octets = asyncio.run(scenario())
    assert seen == [drafts.Drafting]
    assert (accepted.message.id, found, octets) == ("m1", ["help", "support"], b"hi")


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (associating("support", "help"), ["help", "support"]),
        (deleting("help"), errors.RecipientsChanged),
    ],
    ids=["associate", "delete"],
)
@pytest.mark.parametrize("by", ["another process", "the same batch"])
def test_a_message_is_decided_again_if_the_directory_changes_before_the_turn(path, change, outcome, by):
    async def scenario():
        other = sqlite.SqliteStore(path, NoSeal())
        async with opened(path) as store:
            async with busy(store):
                arrival = asyncio.create_task(store.write(arriving(seen=seen), may_share=True))
                await asyncio.sleep(0)
                assert seen == [drafts.Drafting]
                changer = store if by == "the same batch" else other
                changed = asyncio.create_task(changer.write(change))
                await until(lambda: changer is store or is_waiting(path))
            await changed
            (result,) = await asyncio.gather(arrival, return_exceptions=True)
            found = await store.read(delivered)
        await other.close()
        return result, found

    seen = []
    result, found = asyncio.run(scenario())
    if by == "the same batch":  # the message is inserted first
        assert (result.message.id, found, seen) == ("m1", ["help"], [drafts.Drafting])
    elif isinstance(outcome, list):
        assert (result.message.id, found, seen) == ("m1", outcome, [drafts.Drafting, SqliteTransaction])
    else:
        assert (type(result), found, seen) == (outcome, [], [drafts.Drafting, SqliteTransaction])


def test_a_message_that_cannot_be_inserted_does_not_affect_the_other_messages(path):
    async def scenario():
        async with opened(path) as store:
            async with busy(store):
                names = ("m1", "m2", "m2", "m3")
                writes = [asyncio.create_task(store.write(arriving(name), may_share=True)) for name in names]
                writes.append(asyncio.create_task(store.write(disassociating("support", "help"))))
                await asyncio.sleep(0)
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            return outcomes, [await store.read(partial(delivered, message_id=name)) for name in ("m1", "m2", "m3")]

    outcomes, found = asyncio.run(scenario())
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, False, True, False, True]
    assert found == [["help"]] * 3


def test_more_messages_than_one_statement_inserts_are_all_stored(path):
    async def scenario():
        async with opened(path) as store:
            async with busy(store):
                names = [f"m{number}" for number in range(2 * drafts.ROWS + 1)]
                writes = [asyncio.create_task(store.write(arriving(name), may_share=True)) for name in names]
                await asyncio.sleep(0)
            await asyncio.gather(*writes)
            return [await store.read(partial(delivered, message_id=name)) for name in names]

    assert asyncio.run(scenario()) == [["help"]] * (2 * drafts.ROWS + 1)
