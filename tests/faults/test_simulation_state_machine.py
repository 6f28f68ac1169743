"""Random sequences of calls, mail and deliveries on the real stores, which the model of the simulation judges.

Nothing runs at the same time, so that each outcome is known, and the model allows only one result.
"""

import itertools
from contextlib import nullcontext
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace

from faults.simulation.broken import broken
from faults.simulation.history import Arrival, Excuse, History, Sent
from faults.simulation.model import violations
from faults.simulation.observed import observe_in
from faults.simulation.server import POLICY, routes_of
from tests.kit.examples import examples
from tests.kit.stores.both_stores import ENGINES
from tests.kit.values import NOW, TENANT, an_email_address, make_instance
from tests.linearizability.checker import Operation
from waypost.app.deployment import Deployment
from waypost.app.directory import aliases, email_addresses, tags
from waypost.app.mail import accept, notify
from waypost.app.queue import attempt, redrive
from waypost.app.queue.attempt import Outcome
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble
from waypost.domain.mail.messages import Envelope

INSTANCE = "i"
ROUTED = ("routed0", "routed1")
FIXED = ("fixed0", "fixed1", *ROUTED)
CHANGING = ("change0", "change1")
LEASE = timedelta(minutes=2)

RESULTS = {
    "accepted": {"stage": Stage.END, "code": 250},
    "deferred": {"stage": Stage.RCPT, "code": 451},
    "refused": {"stage": Stage.RCPT, "code": 550},
    "unreachable": {"stage": Stage.CONNECT, "trouble": Trouble.UNREACHABLE},
    "reply lost": {"stage": Stage.END, "trouble": Trouble.DISCONNECTED},
}

PLACES = st.integers(0, 1)
"""Which of two servers gets a call."""


class Undone(Exception):
    """A use case fails after it has changed something."""


class Servers(RuleBasedStateMachine):
    """Two servers on one database, whose calls run one after the other."""

    def __init__(self, handle):
        super().__init__()
        self.handles = handle, handle.another()
        self.history = History()
        self.now, self.numbers = NOW, itertools.count(1)
        self.deployment = Deployment(
            hostname="waypost.example",
            loop_key=b"loop",
            policy=POLICY,
            routes=routes_of([f"{name}@example.com" for name in ROUTED]),
        )
        self.claimed = []
        """Claimed deliveries whose attempts have ended, with the outcome that is not recorded yet."""

    @initialize()
    def begin(self):
        self.write(0, make_instance)
        for name in FIXED:
            self.write(0, lambda tx, name=name: tx.add_email_address(an_email_address(name), {}))
            self.history.ids[name] = f"{name}@example.com"

    def write(self, place, use_case, **arguments):
        return self.handles[place].write(use_case, **arguments)

    @property
    def seconds(self):
        return (self.now - NOW).total_seconds()

    def tick(self):
        self.now += timedelta(milliseconds=10)
        return self.seconds

    # Email addresses, links and tags.

    def change(self, place, kind, arguments, use_case, **named):
        began = self.tick()
        try:
            self.write(place, use_case, tenant=TENANT, **named)
            outcome = "ok"
        except errors.NotFound:
            outcome = "not found"
        except errors.Duplicate:
            outcome = "duplicate"
        except errors.Conflict:
            outcome = "conflict"
        self.record(kind, arguments, outcome, began)

    def record(self, kind, arguments, outcome, began):
        self.history.calls.append(
            Operation(
                process="test",
                kind=kind,
                arguments=arguments,
                outcome=outcome,
                invoked_at=began,
                returned_at=self.tick(),
            )
        )

    def id_of(self, number):
        ids = list(self.history.ids)
        return ids[number % len(ids)]

    @rule(place=PLACES, name=st.sampled_from(CHANGING))
    def create(self, place, name):
        one = f"{name}.{next(self.numbers)}"
        new = replace(an_email_address(one), address=addresses.parse(f"{name}@example.com"))
        self.history.ids[one] = new.address.key
        self.change(place, "create", (one, new.address.key), email_addresses.create, email_address=new, tags={})

    @rule(place=PLACES, number=st.integers(0, 9))
    def delete(self, place, number):
        created = [one for one in self.history.ids if one not in FIXED]
        if created:
            one = created[-1 - number % len(created)]
            self.change(place, "delete", (one,), email_addresses.delete, instance_id=INSTANCE, email_address_id=one)

    @rule(
        place=PLACES, one=st.integers(0, 9), other=st.integers(0, 9), kind=st.sampled_from(["associate"] * 2 + ["end"])
    )
    def link(self, place, one, other, kind):
        primary, alias = self.id_of(one), self.id_of(other)
        if primary != alias:
            given = {"instance_id": INSTANCE, "primary_id": primary, "alias_id": alias, "now": self.now}
            use_case = aliases.associate if kind == "associate" else aliases.disassociate
            self.change(place, use_case.__name__, (primary, alias), use_case, **given)

    @rule(place=PLACES, number=st.integers(0, 9), value=st.sampled_from([None, "1", "2"]))
    def tag(self, place, number, value):
        one = self.id_of(number)
        resource = tags.Resource(INSTANCE, one)
        if value:
            self.change(place, "tag", (one, "k", value), tags.add, resource=resource, new={"k": value})
        else:
            self.change(place, "untag", (one, "k"), tags.remove, resource=resource, keys=["k"])

    @rule(place=PLACES, number=st.integers(0, 9))
    def describe(self, place, number):
        began, one = self.tick(), self.id_of(number)
        try:
            found = self.handles[place].read(
                email_addresses.describe, tenant=TENANT, instance_id=INSTANCE, email_address_id=one
            )
        except errors.NotFound:
            self.record("describe", (one,), "not found", began)
            self.record("tags", (one,), "not found", self.tick())
            return
        self.record("describe", (one,), (found.alias_id,) if found.alias_id else (), began)
        self.record("tags", (one,), tuple(f"{k}={v}" for k, v in sorted(found.tags.items())), self.tick())

    # Mail.

    @rule(
        place=PLACES,
        names=st.lists(st.sampled_from([*FIXED, *CHANGING]), min_size=1, max_size=4, unique=True),
        sender=st.sampled_from(["fixed0@example.com", "ann@example.org"]),
        is_undone=st.sampled_from([False] * 5 + [True]),
    )
    def send(self, place, names, sender, is_undone):
        began, number = self.tick(), next(self.numbers)
        raw = f"Subject: mail {number}\r\n\r\nHello\r\n".encode()
        wanted = [addresses.parse(f"{name}@example.com") for name in names]
        known = []
        for address in wanted:
            try:
                check = partial(accept.check_recipient, deployment=self.deployment, address=address, sender=sender)
                self.handles[place].read(check, now=self.now)
                known.append(address)
            except errors.UnknownRecipient:
                pass
        given = {"client": "test", "server": str(place), "sender": sender, "raw": raw, "began": began}
        if not known:
            self.history.sent.append(Sent(**given, ended=self.tick(), outcome="refused", recipients=("none",)))
            return
        message_id = f"m{number:04}"
        use_case = partial(
            accept.accept_message,
            deployment=self.deployment,
            message_id=message_id,
            envelope=Envelope(
                sender=sender, recipients=tuple(one.text for one in known), helo="c", peer="192.0.2.1", protocol="SMTP"
            ),
            recipients=known,
            content=accept.examine(raw, hostname="waypost.example", sender=sender, is_trusted=True),
            raw=raw,
            now=self.now,
        )
        outcome = "accepted"
        try:
            self.write(place, _undone(use_case) if is_undone else use_case)
        except Undone:
            outcome, message_id = "refused", ""
        recipients = tuple(one.key for one in known)
        self.history.sent.append(
            Sent(**given, ended=self.tick(), outcome=outcome, message_id=message_id, recipients=recipients)
        )

    # The queue.

    @rule(place=PLACES, limit=st.integers(1, 3), result=st.sampled_from(sorted(RESULTS)))
    def attempt(self, place, limit, result):
        """Claim deliveries that are due, and attempt them. The outcomes are recorded later, or never."""
        for waiting in self.handles[place].read(lambda tx: tx.waiting()):
            taken = self.write(
                place,
                attempt.claim,
                deployment=self.deployment,
                destination=waiting.destination,
                claim=f"c{next(self.numbers)}",
                now=self.now,
                lease=LEASE,
                limit=limit,
            )
            for ready in taken.ready:
                began = self.tick()
                claimed = ready.claimed
                reply = AttemptResult(protocol=Protocol.SMTP, peer="peer", **RESULTS[result])
                if result in {"accepted", "reply lost"}:
                    octets = claimed.delivery.trace_header + claimed.octets
                    self.history.arrivals.append(
                        Arrival(
                            delivery_id=claimed.delivery.id,
                            server="worker",
                            octets=octets,
                            began=began,
                            at=self.tick(),
                            is_reply_lost=result == "reply lost",
                        )
                    )
                self.claimed.append(Outcome.of(claimed, reply, self.deployment, self.now))

    @precondition(lambda self: self.claimed)
    @rule(place=PLACES, together=st.booleans(), count=st.integers(1, 3))
    def record_outcomes(self, place, together, count):
        self.tick()
        outcomes, self.claimed = self.claimed[:count], self.claimed[count:]
        outcomes = [replace(one, at=self.now) for one in outcomes]
        if together:
            self.write(place, attempt.record_all, outcomes=outcomes)
        else:
            for outcome in outcomes:
                self.write(place, attempt.record, outcome=outcome)

    @precondition(lambda self: self.claimed)
    @rule()
    def kill_the_worker(self):
        """Lose all outcomes that are not recorded."""
        self.history.excuses.append(Excuse(kind="killed", server="worker", began=self.seconds, ended=self.seconds))
        self.claimed.clear()

    @rule(seconds=st.sampled_from([1, 20, 130, 700]))
    def wait(self, seconds):
        """Let time pass, perhaps so much that the leases end, so that others may attempt what was claimed."""
        if seconds > LEASE.total_seconds() and self.claimed:
            excuse = Excuse(kind="stopped", server="worker", began=self.seconds, ended=self.seconds + seconds)
            self.history.excuses.append(excuse)
        self.now += timedelta(seconds=seconds)

    @rule(place=PLACES)
    def sweep(self, place):
        self.tick()
        self.write(place, attempt.give_up_expired, deployment=self.deployment, now=self.now)
        while owing := self.handles[place].read(notify.next_owed, now=self.now):
            new_id = partial("n{:04}".format, next(self.numbers))
            self.write(place, notify.write, deployment=self.deployment, owing=owing, new_id=new_id, now=self.now)

    @rule(place=PLACES, number=st.integers(0, 3))
    def redrive(self, place, number):
        found = self.handles[place].long_read(redrive.dead_letters, account=TENANT.account)
        if found:
            one = found[number % len(found)].delivery.id
            self.write(place, redrive.redrive, account=TENANT.account, ids=[one], now=self.now)

    def teardown(self):
        """End all faults, let the queue empty itself, and ask the model."""
        self.kill_the_worker()
        for _ in range(3):
            self.wait(700)
            self.attempt(0, 100, "accepted")
            if self.claimed:
                self.record_outcomes(0, together=True, count=len(self.claimed))
            self.sweep(0)
        for number in range(len(self.history.ids)):
            self.describe(number % 2, number)
        assert violations(self.history, self.handles[0].long_read(observe_in)) == []


def _undone(use_case):
    def run(tx):
        use_case(tx)
        raise Undone

    return run


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request):
    made = ENGINES[request.param]()
    yield made
    made.close()


def run(engine, **options):
    """Run the state machine, each time on an empty database."""
    stores = []

    def machine():
        for store in stores:
            store.__exit__(None, None, None)
        stores[:] = [engine.empty_store()]
        return Servers(stores[0].__enter__())

    try:
        run_state_machine_as_test(machine, settings=settings(deadline=None, database=None, **options))
    finally:
        for store in stores:
            store.__exit__(None, None, None)


def test_every_sequence_of_calls_mail_and_deliveries_satisfies_the_model(engine):
    run(engine, max_examples=examples(20), stateful_step_count=20)


def an_outcome_of_a_lost_lease(servers):
    """Attempt a delivery twice, because the first lease has ended, and record both outcomes."""
    servers.send(0, ["routed1"], "fixed0@example.com", is_undone=False)
    servers.attempt(0, 1, "deferred")
    servers.wait(130)
    servers.attempt(1, 1, "accepted")
    servers.record_outcomes(0, together=False, count=2)


def a_write_that_fails_after_a_change(servers):
    servers.send(0, ["fixed1"], "fixed0@example.com", is_undone=True)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("records without owning", an_outcome_of_a_lost_lease),
        ("commits half of a failed write", a_write_that_fails_after_a_change),
    ],
)
def test_the_model_finds_a_broken_variant_of_the_real_store(name, steps):
    engine = ENGINES["sqlite"]()
    try:
        for is_broken in (False, True):
            with engine.empty_store() as handle, broken(name) if is_broken else nullcontext():
                servers = Servers(handle)
                servers.begin()
                steps(servers)
                with pytest.raises(AssertionError) if is_broken else nullcontext():
                    servers.teardown()
    finally:
        engine.close()
