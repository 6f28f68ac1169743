"""The self-probe of a real service: each result, what it counts and logs, and that its messages do not pile up."""

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest

from tests.kit.patience import NEVER, PATIENCE, until
from tests.kit.peers.mail_sink import Sink
from tests.kit.values import NOW, TENANT, an_email_address
from tests.server.test_roles import Running
from waypost.app import ports
from waypost.app.mail import probing as probing_rules
from waypost.app.ports.failures import STORE_FAILURES
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.mail import probes
from waypost.domain.mail.probes import Result
from waypost.domain.mail.routes import Fault, Route
from waypost.host.clock import now
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.metrics import families
from waypost.observe.metrics.arrays import Arrays
from waypost.observe.metrics.places import PLACES
from waypost.server import opening, own_smtp
from waypost.server.probe import KEPT, NOT_AN_ALIAS, Ended, Probe

TEMPFAIL = Route(match="support@example.com", to="smtp://127.0.0.1:1", fault=Fault.TEMPFAIL)
PERMFAIL = Route(match="support@example.com", to="smtp://127.0.0.1:1", fault=Fault.PERMFAIL)


def add_addresses(tx, *, instance_id, is_linked):
    for name in ("help", "support"):
        tx.add_email_address(an_email_address(name, instance_id), {})
    if is_linked:
        tx.add_link(AliasLink("support", "help", NOW))


class Probing:
    """A running service, and a probe that the test sends. `emitted` has the events of the probe."""

    def __init__(self, service, store, **options):
        self.emitted, self.store = [], store
        self.metrics = Arrays().of(0)
        given = {
            "store": store,
            "alias": "help@example.com",
            "every": timedelta(seconds=NEVER),
            "smtp": service.run.smtp,
            "hostname": "mx.example",
            "key": b"k" * 32,
            "clock": now,
            "emit": self.emitted.append,
            "incidents": Incidents(self.emitted.append, of_store=STORE_FAILURES),
            "metrics": self.metrics,
            "seconds": PATIENCE,
        }
        self.probe = Probe(**given | options)

    async def ids(self):
        """Return the ids of the messages that were sent to the alias and still exist, newest first."""
        listed = partial(_listed, key="help@example.com")
        return [message.id for _, message in await self.store.read(listed)]

    async def header_id(self, message_id):
        found = await self.store.read(partial(_listed, key="help@example.com"))
        return next(message.header_id for _, message in found if message.id == message_id)

    def value(self, family, *labels):
        return self.metrics.totals()[PLACES[family][labels]]


def _listed(tx, *, key):
    return tx.deliveries_to(TENANT.account, key, after=None, limit=100)


@asynccontextmanager
async def probing(directory, *, routes=(), is_linked=True, settings=None, **options):
    service = await Running(directory, routes=routes, **settings or {}).start()
    try:
        async with opening.administering(service.service.directory) as store:
            add = partial(add_addresses, instance_id=service.service.instance_id, is_linked=is_linked)
            await store.write(add)
            yield Probing(service, store, **options)
    finally:
        await service.stop()


def run(scenario):
    asyncio.run(scenario())


def test_a_probe_arrives_and_its_message_is_deleted(tmp_path):
    async def scenario():
        async with probing(tmp_path) as probing_:
            ended = await probing_.probe.once()
            assert (ended.result, ended.reason) == (Result.OK, "")
            assert ended.seconds > 0
            assert await probing_.ids() == []
            assert not await probing_.store.read(lambda tx: tx.trace(ended.message_id))

    run(scenario)


@pytest.mark.slow
def test_a_probe_uses_tls_if_the_server_offers_it(tmp_path):
    async def scenario():
        settings = {"tls_certificate": "self-signed", "tls_required": "yes"}
        async with probing(tmp_path, settings=settings) as probing_:
            assert (await probing_.probe.once()).result is Result.OK

    run(scenario)


def test_a_probe_goes_over_the_route_of_the_primary(tmp_path):
    async def scenario():
        with Sink() as sink:
            async with probing(tmp_path, routes=(Route(match="support@example.com", to=sink.to),)) as probing_:
                assert (await probing_.probe.once()).result is Result.OK
                assert await probing_.ids() == []
            (taken,) = sink.wait_for(1)
        assert b"\r\nX-Waypost-Probe: yes\r\n" in taken.octets

    run(scenario)


@pytest.mark.parametrize("alias", ["nobody@example.com", "support@example.com", "help@example.com"])
def test_no_message_is_sent_to_an_address_that_is_not_an_alias(tmp_path, alias):
    async def scenario():
        is_linked = alias != "help@example.com"
        async with probing(tmp_path, is_linked=is_linked, alias=alias) as probing_:
            assert (await probing_.probe.once()).result is Result.NOT_AN_ALIAS
            assert await probing_.probe.is_target_missing()
            assert await probing_.ids() == []

    run(scenario)


@pytest.mark.slow
def test_a_probe_that_becomes_a_dead_letter_has_failed_and_few_such_messages_are_kept(tmp_path):
    async def scenario():
        async with probing(tmp_path, routes=(PERMFAIL,)) as probing_:
            ended = [await probing_.probe.once() for _ in range(KEPT + 2)]
            assert {each.result for each in ended} == {Result.DEAD}
            assert await probing_.ids() == [each.message_id for each in reversed(ended)][:KEPT]

    run(scenario)


@pytest.mark.slow
def test_copies_of_a_probe_by_another_program_do_not_displace_the_messages_of_failed_probes(tmp_path):
    async def scenario():
        async with probing(tmp_path, routes=(PERMFAIL,)) as probing_:
            failed = [(await probing_.probe.once()).message_id for _ in range(3)]
            newest = await probing_.header_id(failed[-1])
            octets = probes.text("help@example.com", newest, now())
            for _ in range(KEPT + 2):
                await own_smtp.send_to(probing_.probe.smtp, "", "help@example.com", octets, name="mx.example")
            last = await probing_.probe.once()
            assert {*failed, last.message_id} <= set(await probing_.ids())

    run(scenario)


@pytest.mark.slow
def test_the_messages_of_failed_probes_are_deleted_after_a_day_even_if_they_are_queued(tmp_path):
    async def scenario():
        async with probing(tmp_path, routes=(TEMPFAIL,), seconds=0.2) as probing_:
            ended = await probing_.probe.once()
            assert (ended.result, await probing_.ids()) == (Result.LATE, [ended.message_id])
            probing_.probe.clock = lambda: now() + timedelta(days=1, minutes=1)
            await probing_.probe.once()
            assert ended.message_id not in await probing_.ids()

    run(scenario)


@pytest.mark.slow
def test_mail_of_others_to_the_alias_is_not_deleted(tmp_path):
    async def scenario():
        async with probing(tmp_path) as probing_:
            other = Probing(_At(probing_.probe.smtp), probing_.store, key=b"o" * 32)
            other.probe = _WithoutDeletion(
                **{name: getattr(other.probe, name) for name in other.probe.__struct_fields__}
            )
            theirs = await other.probe.once()
            probing_.probe.clock = lambda: now() + timedelta(days=2)
            assert (await probing_.probe.once()).result is Result.OK
            assert await probing_.ids() == [theirs.message_id]

    run(scenario)


@pytest.mark.slow
def test_an_old_probe_behind_much_other_mail_is_found_in_several_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(probing_rules, "LISTED_AT_ONCE", 2)

    async def scenario():
        async with probing(tmp_path) as probing_:
            sent = []
            for key in (probing_.probe.key, *[b"o" * 32] * 4):
                given = {name: getattr(probing_.probe, name) for name in Probe.__struct_fields__}
                sent.insert(0, (await _WithoutDeletion(**given | {"key": key}).once()).message_id)
            assert await probing_.ids() == sent
            probing_.probe.clock = lambda: now() + timedelta(days=2)
            left = []
            for _ in range(5):
                assert (await probing_.probe.once()).result is Result.OK
                left.append(await probing_.ids())
            assert left == [sent, sent, *[sent[:-1]] * 3]
            assert probing_.probe._place.after == sent[0]  # the search has begun again

    run(scenario)


class _At:
    """A service of which only the address is known."""

    def __init__(self, smtp):
        self.run = self
        self.smtp = smtp


class _WithoutDeletion(Probe):
    async def _delete(self, target, ended):
        pass


def test_a_server_that_refuses_the_probe(tmp_path):
    async def scenario():
        async with probing(tmp_path, settings={"disk_reserve": "999999999GiB"}) as probing_:
            ended = await probing_.probe.once()
            assert (ended.result, ended.reason) == (Result.REFUSED, "the server replied 452")

    run(scenario)


def test_a_port_that_does_not_answer(tmp_path):
    async def scenario():
        async with probing(tmp_path) as probing_:
            with socket.create_server(("127.0.0.1", 0)) as hanging:
                probing_.probe.smtp = f"127.0.0.1:{hanging.getsockname()[1]}"
                probing_.probe.seconds = 0.1
                assert (await probing_.probe.once()).result is Result.UNREACHABLE
            probing_.probe.seconds = PATIENCE
            assert (await probing_.probe.once()).result is Result.UNREACHABLE  # nothing listens there now

    run(scenario)


@pytest.mark.slow
def test_a_store_that_fails_is_reported_and_ends_only_one_probe(tmp_path):
    class Failing:
        async def read(self, use_case):
            raise ports.StoreUnavailable("the database is down")

    async def scenario():
        async with probing(tmp_path) as probing_:
            store, probing_.probe.store = probing_.probe.store, Failing()
            assert (await probing_.probe.once()).result is Result.ERROR
            (failed,) = probing_.emitted
            assert (type(failed), failed.where) == (events.StoreFailed, "probe")
            probing_.probe.store = store
            assert (await probing_.probe.once()).result is Result.OK

    run(scenario)


class _Scripted(Probe):
    """A probe that ends as the test says, and then waits."""

    async def once(self):
        script = self.hostname  # a field that this probe does not need
        if not script:
            await asyncio.Event().wait()
        return script.pop(0)


def test_results_are_counted_and_changes_are_logged():
    ok = Ended(result=Result.OK, seconds=0.25, message_id="m1")
    late = Ended(result=Result.LATE, message_id="m2", reason="the message was not delivered within 30 s")
    refused = Ended(result=Result.REFUSED, reason="the server replied 452")

    async def scenario():
        probing_ = Probing(_At("127.0.0.1:1"), None)
        given = {name: getattr(probing_.probe, name) for name in Probe.__struct_fields__}
        script = [ok, ok, late]
        probe = _Scripted(**given | {"hostname": script, "every": timedelta()})
        task = asyncio.create_task(probe.run())
        await until(lambda: not script)
        assert probing_.value(families.PROBE_SUCCESS) == 0
        script += [late, refused, ok]
        task.cancel()
        task = asyncio.create_task(probe.run())
        await until(lambda: not script)
        await until(lambda: probing_.value(families.PROBE_SUCCESS) == 1)
        task.cancel()
        return probing_

    probing_ = asyncio.run(scenario())
    assert probing_.emitted == [
        events.ProbeSucceeded(id="m1", milliseconds=250),
        events.ProbeFailed(result="late", reason="the message was not delivered within 30 s", id="m2"),
        events.ProbeFailed(result="refused", reason="the server replied 452", id=""),
        events.ProbeSucceeded(id="m1", milliseconds=250),
    ]
    counts = {result: probing_.value(families.PROBES, result) for result in Result}
    assert counts == {**dict.fromkeys(Result, 0), Result.OK: 3, Result.LATE: 2, Result.REFUSED: 1}
    assert probing_.value(families.PROBE_SECONDS) == 0.25
    assert abs(probing_.value(families.PROBE_LAST_SUCCESS) - now().timestamp()) < PATIENCE


def test_each_result_is_a_value_of_the_label():
    assert families.PROBES.labels == {"result": tuple(Result)}


@pytest.mark.slow
def test_a_server_warns_at_its_start_if_the_address_is_not_an_alias(tmp_path):
    async def scenario(is_linked):
        service = await Running(tmp_path / str(is_linked)).start()
        async with opening.administering(service.service.directory) as store:
            await store.write(partial(add_addresses, instance_id=service.service.instance_id, is_linked=is_linked))
        await service.stop()
        service, warnings = Running(tmp_path / str(is_linked), probe_alias="help@example.com"), []
        service.service._warn = warnings.append
        await service.start()
        await until(lambda: service.emitted_of(events.ProbeSucceeded if is_linked else events.ProbeFailed))
        await service.stop()
        return NOT_AN_ALIAS in warnings

    assert [asyncio.run(scenario(is_linked)) for is_linked in (True, False)] == [False, True]
