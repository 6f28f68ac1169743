"""Deliberately broken variants of Waypost, each with one defect of a class that the simulation must find.

A variant replaces functions of Waypost in this process. `WITHIN` is the number of seeds, from 0 on and with 16 faults
in each phase, within which the simulation must find it.
"""

import asyncio
from contextlib import ExitStack, contextmanager
from unittest import mock

import msgspec

from faults.simulation import store as simulated_store
from faults.simulation.peers import Peers
from faults.simulation.store import SimulatedStore
from waypost.app import ports
from waypost.app.directory import aliases, email_addresses, idempotency
from waypost.app.mail import accept, notify
from waypost.delivery.queue.leases import Leases
from waypost.delivery.queue.notices import Notices
from waypost.domain.directory import aliases as rules
from waypost.domain.mail import checksums, routing
from waypost.domain.mail.delivery import Reason
from waypost.store.common import rows
from waypost.store.common.transaction import messages
from waypost.store.sqlite import batches
from waypost.store.sqlite.transaction import SqliteTransaction


def _claims_without_a_lease():
    """A claim does not keep other workers from claiming the same deliveries."""
    claim = SqliteTransaction.claim

    def at_once(self, destination, *, now, lease_until, **others):
        return claim(self, destination, now=now, lease_until=now, **others)

    yield mock.patch.object(SqliteTransaction, "claim", at_once)


def _never_renews_a_lease():
    """An attempt that takes longer than its lease is not protected by a renewal."""

    async def renew_nothing(self):
        return True

    yield mock.patch.object(Leases, "renew_all", renew_nothing)


def _records_without_owning():
    """An outcome is recorded although another worker has claimed the delivery since."""

    def finish(self, claimed):
        ids = (claimed.delivery.message_id, claimed.delivery.email_address_id)
        self.connection.execute("DELETE FROM queue WHERE message_id = ? AND email_address_id = ?", ids)
        return True

    def defer(self, claimed, *, due_at, because):
        values = (round(due_at.timestamp() * 1000), because)
        ids = (claimed.delivery.message_id, claimed.delivery.email_address_id)
        self.connection.execute(
            "UPDATE queue SET claim = '', due_at = ?, attempts = attempts + 1, because = ?"
            " WHERE message_id = ? AND email_address_id = ?",
            values + ids,
        )
        return True

    yield mock.patch.object(SqliteTransaction, "finish", finish)
    yield mock.patch.object(
        SqliteTransaction, "finish_all", lambda self, claimed: [finish(self, one) for one in claimed]
    )
    yield mock.patch.object(SqliteTransaction, "defer", defer)


def _stores_a_copy_twice():
    """A primary that is also addressed directly gets two copies, and the key (message, email address) is ignored."""

    def plan(recipients, in_force=()):
        recipients = tuple(recipients)
        found = [
            routing.Destination(
                one.email_address,
                Reason.DIRECT,
                one.sent_to,
                None,
                routing.find(in_force, one.email_address.address, one.email_address.instance_id),
            )
            for one in recipients
        ]
        for one in recipients:
            if one.primary:
                route = routing.find(in_force, one.primary.address, one.primary.instance_id)
                found.append(routing.Destination(one.primary, Reason.FORWARDED, one.sent_to, one.email_address, route))
        return routing.Plan(tuple(found), ())

    def schema(sql):
        return sql.replace(
            "CONSTRAINT deliveries_once_each PRIMARY KEY (message_id, email_address_id)\n) STRICT, WITHOUT ROWID",
            "CHECK (1)\n) STRICT",
        )

    yield mock.patch.object(routing, "plan", plan)
    yield mock.patch.object(simulated_store, "schema", schema)
    yield mock.patch.object(simulated_store, "FOREIGN_KEYS", "OFF")


def _links_without_a_lock():
    """The rules of association are checked before the transaction, and the database does not check them again."""
    write = SimulatedStore.write

    async def checks_before(self, use_case, *, may_share=False):
        if getattr(use_case, "func", None) is aliases.associate:
            given = use_case.keywords
            ids = given["primary_id"], given["alias_id"]
            links = email_addresses.lock_with_links(self._long_reading, given["tenant"], given["instance_id"], *ids)
            link = rules.associate(*ids, link_of_primary=links[ids[0]], link_of_alias=links[ids[1]], now=given["now"])
            return await write(self, lambda tx: tx.add_link(link))
        return await write(self, use_case, may_share=may_share)

    def schema(sql):
        sql = sql.replace("CONSTRAINT alias_link_ends_one_link_each PRIMARY KEY\n", "\n")
        return sql.replace("CONSTRAINT alias_link_ends_pair UNIQUE (", "CONSTRAINT alias_link_ends_pair PRIMARY KEY (")

    yield mock.patch.object(SimulatedStore, "write", checks_before)
    yield mock.patch.object(simulated_store, "schema", schema)


def _replies_before_the_commit():
    """The client gets 250 when the message waits for its commit."""
    write = SimulatedStore.write

    async def replies_early(self, use_case, *, may_share=False):
        draft = None
        if getattr(use_case, "func", None) is accept.accept_message:
            draft = self._drafting.draft(use_case)
        if draft is None:
            return await write(self, use_case, may_share=may_share)
        task = asyncio.ensure_future(write(self, use_case, may_share=may_share))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return draft.result

    yield mock.patch.object(SimulatedStore, "write", replies_early)


def _keeps_the_version_of_the_directory():
    """A change of the directory does not change its version, so that cached owners and old drafts stay in use."""
    yield mock.patch.object(simulated_store.Versions, "begin_change")


def _takes_a_part_before_storing_it():
    """A part of a delivery in parts is taken from the plan in one transaction, and stored in the next."""

    async def in_two(store, deployment, *, message_id, now):
        while part := await store.write(lambda tx: tx.take_planned(message_id)):

            def add(tx, part=part):
                tx.take_planned = lambda _: part
                try:
                    return accept.store_planned(tx, deployment, message_id=message_id, now=now)
                finally:
                    del tx.take_planned

            await store.write(add)

    yield mock.patch.object(accept, "store_all_planned", in_two)


def _takes_a_notice_before_writing_it():
    """The record that a notice is due is removed in one transaction, and the notice is written in the next."""

    async def in_two(self, owing, now):
        owed = await self._store.write(lambda tx: tx.take_owed(owing, limit=notify.AT_ONCE))

        def write(tx):
            tx.take_owed = lambda owing, *, limit: owed
            try:
                notify.write(tx, self._deployment, owing, new_id=self._new_id, now=now)
            finally:
                del tx.take_owed

        await self._store.write(write)

    yield mock.patch.object(Notices, "_write", in_two)


def _says_success_to_the_group():
    """If the commit of a group fails, only the first client gets the error."""
    run = batches.run

    def tells_the_first(tx, batch):
        run(tx, batch)
        for job in batch[1:]:
            if isinstance(job.error, ports.StoreUnavailable) and job.result is not None:
                job.error = None

    yield mock.patch.object(batches, "run", tells_the_first)


def _ignores_failed_commits():
    """An error of COMMIT is not reported, as if a full disk were ignored."""
    run = batches.run

    def ignores(tx, batch):
        run(tx, batch)
        for job in batch:
            if isinstance(job.error, ports.StoreUnavailable) and job.result is not None:
                job.error = None

    yield mock.patch.object(batches, "run", ignores)


def _commits_half_of_a_failed_write():
    """A write that fails after its first change is committed with the others, because it has no savepoint."""
    yield mock.patch.object(batches, "_run", lambda tx, job: job.run(tx))


def _forgets_client_tokens():
    """A call that is repeated with its client token takes effect again."""

    def once(tx, call, *, now, effect):
        return effect()

    yield mock.patch.object(idempotency, "once", once)


def _pieces_changed_by(change):
    """Store what `change` makes of each row of a piece: id of the message, offset, bytes and checksum."""
    pieces = messages._pieces

    def changed(message_id, octets, start):
        return (change(*row) for row in pieces(message_id, octets, start))

    return mock.patch.object(messages, "_pieces", changed)


def _stores_the_second_piece_without_a_checksum():
    """Only the first piece of a message has a checksum, so damage of the others is not found."""
    yield _pieces_changed_by(lambda key, start, octets, checksum: (key, start, octets, None if start else checksum))


def _loses_the_last_byte_of_a_whole_page():
    """A message whose size is a multiple of the size of a page is stored without its last byte."""

    def shorter(key, start, octets, _):
        kept = octets if (start + len(octets)) % 4096 else octets[:-1]
        return key, start, kept, checksums.of_piece(key, start, kept)

    yield _pieces_changed_by(shorter)


def _forgets_the_beginning_of_the_trace():
    """The trace of a message does not say that it was accepted."""
    of_first_events = rows.of_first_events
    yield mock.patch.object(rows, "of_first_events", lambda trace: of_first_events(list(trace)[1:]))


def _forgets_that_an_attempt_failed():
    """The trace has no event for an attempt that failed."""
    for name in ("add_events", "add_event_each"):
        add = getattr(SqliteTransaction, name)

        def without(self, *given, add=add):
            *first, events = given
            return add(self, *first, [one for one in events if _kind(one) != "deferred"])

        yield mock.patch.object(SqliteTransaction, name, without)


def _kind(event):
    return (event[1] if isinstance(event, tuple) else event).kind


def _stores_another_sender():
    """The sender of the envelope is lost, so that notices go to somebody else."""
    of_message = rows.of_message

    def changed(message):
        sender = message.envelope.sender
        return tuple("b@example.org" if sender and one == sender else one for one in of_message(message))

    yield mock.patch.object(rows, "of_message", changed)


def _sends_a_copy_without_its_header():
    """The copy for a peer does not have the header that names the delivery."""
    attempt = Peers.attempt

    def without(self, parcel, route):
        return attempt(self, msgspec.structs.replace(parcel, header=b"X-Other: 1\r\n"), route)

    yield mock.patch.object(Peers, "attempt", without)


WITHIN = {
    _claims_without_a_lease: 10,
    _never_renews_a_lease: 60,
    _records_without_owning: 30,
    _stores_a_copy_twice: 30,
    _links_without_a_lock: 60,
    _replies_before_the_commit: 60,
    _keeps_the_version_of_the_directory: 60,
    _takes_a_part_before_storing_it: 100,
    _takes_a_notice_before_writing_it: 100,
    _says_success_to_the_group: 120,
    _ignores_failed_commits: 120,
    _commits_half_of_a_failed_write: 100,
    _forgets_client_tokens: 120,
    _stores_the_second_piece_without_a_checksum: 5,
    _loses_the_last_byte_of_a_whole_page: 5,
    _forgets_the_beginning_of_the_trace: 1,
    _forgets_that_an_attempt_failed: 5,
    _stores_another_sender: 1,
    _sends_a_copy_without_its_header: 2,
}

VARIANTS = {variant.__name__[1:].replace("_", " "): variant for variant in WITHIN}


@contextmanager
def broken(name):
    """Break Waypost in this process during the `with` block. `name` is a key of `VARIANTS`."""
    with ExitStack() as patches:
        for patch in VARIANTS[name]():
            patches.enter_context(patch)
        yield


def within(name):
    """Return the number of seeds within which the simulation must find a variant."""
    return WITHIN[VARIANTS[name]]
