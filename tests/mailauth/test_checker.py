"""The checker and its worker process: checks raise no exception and keep their limits, even if the worker fails."""

import asyncio
import os
import re
import resource
import signal
import time
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop

from tests.kit.patience import NEVER, PATIENCE, until
from tests.kit.peers.dns_server import SILENT, Zone
from tests.kit.signed_mail import CLAIM, MESSAGE, sign, zone_of
from waypost.domain.mailauth.enforcement import Reason, Unchecked
from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Claim, Dkim, Dmarc, Outcome, Spf, Verdicts
from waypost.mailauth import wire
from waypost.mailauth.checker import LARGE, ROOM, Checker, Limits
from waypost.mailauth.places import AT_ONCE
from waypost.mailauth.process import WorkerProcess
from waypost.sandbox.process import WorkerDied

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def run(main, loop=asyncio.new_event_loop):
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


async def pieces(message, size=65_536):
    for start in range(0, len(message), size):
        yield message[start : start + size]


class Running:
    """A checker, and the changes that it has reported."""

    def __init__(self, zone, **limits):
        self.changes = []
        """For each reported change, whether messages can be checked."""
        self.reasons = []
        """The reported reasons why messages cannot be checked."""
        self._change = asyncio.Event()
        self.limit(**limits)
        self.checker = Checker([zone.address], self._on_change, limits=self.limits)

    def limit(self, **limits):
        """Set limits. All other limits are so high that a slow machine does not reach them."""
        self.limits = Limits(**{"check": PATIENCE, "wait": PATIENCE, "silence": NEVER, "probe": PATIENCE} | limits)
        if hasattr(self, "checker"):
            self.checker._limits = self.limits

    def _on_change(self, why_not):
        self.changes.append(why_not is None)
        self.reasons += [why_not] if why_not else []
        self._change.set()

    async def change(self):
        async with asyncio.timeout(2 * PATIENCE):
            await self._change.wait()
        self._change.clear()

    async def check(self, message=MESSAGE, claim=CLAIM):
        return await self.checker.check(claim, pieces(message), len(message))

    async def pid(self):
        return (await self.checker._worker).pid


@asynccontextmanager
async def running(zone, **limits):
    each = Running(zone, **limits)
    await each.checker.start()
    try:
        await each.change()
        yield each
    finally:
        await each.checker.stop()


@pytest.fixture(scope="module")
def zone():
    with Zone(zone_of()) as zone:
        yield zone


@pytest.fixture(scope="module")
def shared(zone):
    """A checker that all tests of this module share, and the event loop that it runs on."""
    with asyncio.Runner() as runner:
        context = running(zone)
        yield runner, runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


@LOOPS
def test_messages_are_checked(zone, loop):
    async def main():
        async with running(zone) as checker:
            found = await checker.check(sign())
            assert found.spf.outcome is found.dkim[0].outcome is found.dmarc.outcome is Outcome.PASS
            many = await asyncio.gather(*(checker.check(sign()) for _ in range(20)))
            assert set(many) == {found}
            assert checker.changes == [True]

    run(main(), loop)


def test_large_messages_are_checked(shared):
    runner, checker = shared

    async def main():
        large = MESSAGE + b"x" * 70 + b"\r\n" * LARGE
        found = await asyncio.gather(*(checker.check(large) for _ in range(3)), checker.check())
        assert {each.spf.outcome for each in found} == {Outcome.PASS}

    runner.run(main())


def test_a_message_waits_until_the_first_probe_of_the_dns_has_ended(zone):
    async def main():
        checker = Checker([zone.address], limits=Limits(wait=0.01))
        assert await checker.check(CLAIM, pieces(MESSAGE), len(MESSAGE)) == Unchecked(Reason.DNS_UNKNOWN)
        checker._limits = Limits(wait=PATIENCE, check=PATIENCE, silence=NEVER, probe=PATIENCE)
        waiting = asyncio.create_task(checker.check(CLAIM, pieces(MESSAGE), len(MESSAGE)))
        await checker.start()
        assert (await waiting).spf.outcome is Outcome.PASS
        await checker.stop()
        assert isinstance(await checker.check(CLAIM, pieces(MESSAGE), len(MESSAGE)), Unchecked)

    run(main())


def test_messages_do_not_wait_while_the_dns_is_silent_and_are_checked_when_it_responds():
    async def main():
        with Zone(zone_of()) as zone:
            zone.silent = True
            async with running(zone, probe=0.2, probe_again=0.05) as checker:
                assert checker.changes == [False]
                assert await checker.check() == Unchecked(Reason.DNS_SILENT)
                checker.limit(probe_again=0.05)
                zone.silent = False
                await checker.change()
                assert checker.changes == [False, True]
                assert (await checker.check()).spf.outcome is Outcome.PASS

    run(main())


def test_three_messages_without_any_dns_answer_cause_a_probe():
    async def main():
        with Zone(zone_of()) as zone:
            async with running(zone, probe_again=NEVER) as checker:
                checker.limit(check=1.2, margin=0.3, probe=0.2, probe_again=NEVER)
                zone.silent = True
                found = await asyncio.gather(*(checker.check() for _ in range(3)))
                assert {each.spf.outcome for each in found} == {Outcome.TEMPERROR}
                await checker.change()
                assert checker.changes == [True, False]
                assert await checker.check() == Unchecked(Reason.DNS_SILENT)

    run(main())


@pytest.mark.slow
def test_senders_with_silent_dns_servers_do_not_stop_the_checks():
    async def main():
        silent = {f"{prefix}silent{number}.example": SILENT for number in range(4) for prefix in ("", "_dmarc.")}
        with Zone(zone_of() | silent) as zone:
            async with running(zone, probe_again=NEVER) as checker:
                checker.limit(check=1.2, margin=0.3, probe_again=NEVER)
                claims = (Claim("192.0.2.1", "mx.example.net", f"a@silent{number}.example") for number in range(4))
                mail = MESSAGE.replace(b"ann@example.com", b"a@silent0.example")
                await asyncio.gather(*(checker.check(mail, claim) for claim in claims))
                await until(lambda: zone.asked(".", "NS") >= 2)
                checker.limit(probe_again=NEVER)
                assert (await checker.check()).spf.outcome is Outcome.PASS
                assert checker.changes == [True]

    run(main())


def test_messages_from_one_network_about_a_silent_domain_leave_places_for_other_networks():
    async def main():
        with Zone(zone_of() | {"slow.example": SILENT}) as zone:
            async with running(zone, probe_again=NEVER) as checker:
                checker.limit(check=NEVER, probe_again=NEVER)
                slow = [
                    asyncio.create_task(checker.check(claim=Claim(f"203.0.113.{number % 4}", "mx", "a@slow.example")))
                    for number in range(3 * AT_ONCE)
                ]
                await until(lambda: zone.asked("slow.example", "TXT") >= 5)
                assert checker.checker._places.free
                assert (await checker.check()).spf.outcome is Outcome.PASS
                for each in slow:
                    each.cancel()
                await asyncio.wait(slow)
                assert checker.checker._places.free == AT_ONCE

    run(main())


def test_a_message_that_gets_no_place_in_time_is_unchecked_with_that_reason(zone):
    async def main():
        async with running(zone) as checker:
            os.kill(await checker.pid(), signal.SIGSTOP)
            stuck = [asyncio.create_task(checker.check()) for _ in range(AT_ONCE // 2)]
            await until(lambda: checker.checker._places.free == AT_ONCE // 2)
            checker.limit(wait=0.01)
            assert await checker.check() == Unchecked(Reason.NO_PLACE)
            checker.limit()
            waiting = [asyncio.create_task(checker.check()) for _ in range(64)]
            await until(lambda: checker.checker._places._waiting.free == 64)
            assert await checker.check() == Unchecked(Reason.NO_SHARE)
            os.kill(await checker.pid(), signal.SIGCONT)
            found = await asyncio.gather(*stuck, *waiting)
            assert {each.spf.outcome for each in found} == {Outcome.PASS}

    run(main())


def test_the_time_that_a_message_waits_does_not_shorten_its_check(zone, monkeypatch):
    given = []
    check = WorkerProcess.check

    async def recording_check(self, claim, octets, size, seconds_left):
        given.append(seconds_left())
        return await check(self, claim, octets, size, seconds_left)

    monkeypatch.setattr(WorkerProcess, "check", recording_check)

    async def main():
        checker = Checker([zone.address], limits=Limits(check=1_000, margin=0, wait=PATIENCE, silence=NEVER))
        waiting = asyncio.create_task(checker.check(CLAIM, pieces(MESSAGE), len(MESSAGE)))
        await asyncio.sleep(0)
        known = asyncio.get_running_loop().time()
        await checker.start()
        await waiting
        assert asyncio.get_running_loop().time() > known
        assert given[0] > 1_000 - PATIENCE
        await checker.stop()

    run(main())


def test_large_messages_from_one_client_leave_room_for_other_clients(zone):
    async def never():
        await asyncio.Event().wait()
        yield b""

    async def main():
        async with running(zone) as checker:
            room = checker.checker._room
            waiting = [asyncio.create_task(checker.checker.check(CLAIM, never(), ROOM // 3)) for _ in range(5)]
            await until(lambda: room.free < ROOM)
            large = MESSAGE + b"x" * 70 + b"\r\n" * LARGE
            other = Claim("198.51.100.9", "mx.example.com", "ann@example.com")
            assert (await checker.check(large, other)).spf.outcome is Outcome.FAIL
            assert room.free >= ROOM // 3
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)
            assert room.free == ROOM

    run(main())


def test_a_worker_that_dies_during_a_probe_does_not_count_as_a_silent_dns(monkeypatch):
    broken = []

    async def breaks(self, seconds):
        broken.append(self.pid)
        raise WorkerDied

    async def main():
        with Zone(zone_of()) as zone:
            async with running(zone, backoff=0.001, probe_again=NEVER) as checker:
                with monkeypatch.context() as patched:
                    patched.setattr(WorkerProcess, "probe", breaks)
                    checker.checker._must_probe.set()
                    await until(lambda: len(broken) >= 2)
                    assert (await checker.check()).spf.outcome is Outcome.PASS
                await until(lambda: zone.asked(".", "NS") >= 2)
                assert checker.changes == [True]

    run(main())


def size_of(process):
    """The address space of a process, in bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_check_without_enough_memory_gives_no_verdict_against_the_message(zone):
    """The body is hashed in pieces, so the memory of the worker may be sufficient after all."""

    async def main():
        async with running(zone) as checker:
            process = await checker.pid()
            assert (await checker.check()).spf.outcome is Outcome.PASS
            limit = size_of(process) // 2  # no memory is left, even if the worker frees some in the meantime
            resource.prlimit(process, resource.RLIMIT_AS, (limit, limit))
            large = MESSAGE + (b"x" * 998 + b"\r\n") * 35_000
            found = await checker.check(large)
            if isinstance(found, Unchecked):
                assert found.reason in {Reason.FAILED, Reason.CANCELLED}
            else:
                assert (found.spf.outcome, found.dmarc.outcome) == (Outcome.PASS, Outcome.PASS)

    run(main())


def test_the_worker_has_no_secrets_in_its_environment_and_cannot_write_files(zone, monkeypatch):
    monkeypatch.setenv("WAYPOST_MASTER_KEY", "secret")
    monkeypatch.setenv("WAYPOST_SERVE_DATABASE", "postgresql://user:secret@host/name")

    async def main():
        async with running(zone) as checker:
            assert (await checker.check()).spf.outcome is Outcome.PASS
            process = Path("/proc") / str(await checker.pid())
            assert b"secret" not in (process / "environ").read_bytes()
            limits = (process / "limits").read_text()
            assert re.search(r"Max file size +0 ", limits)
            assert re.search(r"Max core file size +0 ", limits)

    run(main())


@LOOPS
def test_the_next_message_is_checked_after_the_worker_was_killed(zone, loop):
    async def main():
        async with running(zone) as checker:
            os.kill(await checker.pid(), signal.SIGSTOP)
            waiting = asyncio.create_task(checker.check())
            await asyncio.sleep(0)
            os.kill(await checker.pid(), signal.SIGKILL)
            found = await waiting
            assert found == Unchecked(Reason.CANCELLED)
            assert (await checker.check()).spf.outcome is Outcome.PASS

    run(main(), loop)


@pytest.mark.parametrize(
    ("message", "loop"),
    [(MESSAGE, asyncio.new_event_loop), (MESSAGE + b"x" * 400_000, uvloop.new_event_loop)],
    ids=["small", "more than a pipe holds"],
)
def test_a_worker_that_hangs_is_replaced_and_its_check_ends_in_time(zone, loop, message):
    async def main():
        async with running(zone) as checker:
            worker = await checker.checker._worker
            worker._patience = 0.2  # takes effect with the next answer
            assert (await checker.check()).spf.outcome is Outcome.PASS
            os.kill(worker.pid, signal.SIGSTOP)
            checker.limit(check=0.1)
            found = await checker.check(message)
            assert found == Unchecked(Reason.TOO_LATE)
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([worker._listening])
            checker.limit()
            assert (await checker.check(message)).spf.outcome is Outcome.PASS

    run(main(), loop)


@pytest.mark.slow
def test_a_message_whose_source_is_slow_does_not_delay_other_messages(zone):
    async def main():
        closed = asyncio.Event()

        async def slow():
            try:
                yield MESSAGE[:10]
                await asyncio.Event().wait()
            finally:
                closed.set()

        async with running(zone) as checker:
            checker.limit(check=0.7, margin=0.1)
            stuck = asyncio.create_task(checker.checker.check(CLAIM, slow(), len(MESSAGE)))
            await asyncio.sleep(0)
            checker.limit()
            for _ in range(3):
                assert (await checker.check()).spf.outcome is Outcome.PASS
            assert await stuck == Unchecked(Reason.TOO_LATE)
            assert closed.is_set()
            # The worker has dropped the part that it had of the slow message, and does not mix up messages.
            assert (await checker.check(sign())).dkim[0].outcome is Outcome.PASS

    run(main())


def test_a_message_whose_source_fails_or_has_another_size_is_unchecked(shared):
    runner, checker = shared

    async def failing():
        yield MESSAGE[:10]
        raise OSError

    async def main():
        size = len(MESSAGE)
        sources = [
            (failing(), size, "OSError"),
            (pieces(MESSAGE), size + 1, "ValueError"),
            (pieces(MESSAGE), 10, "ValueError"),
        ]
        for source, given_size, error in sources:
            assert await checker.checker.check(CLAIM, source, given_size) == Unchecked(Reason.FAILED, error)
        assert (await checker.check()).spf.outcome is Outcome.PASS

    runner.run(main())


def test_a_cancelled_check_leaves_no_place_and_no_pending_answer_behind(shared):
    runner, checker = shared

    async def main():
        worker = await checker.checker._worker
        os.kill(worker.pid, signal.SIGSTOP)
        for turns in range(12):
            waiting = asyncio.create_task(checker.check(MESSAGE + b"x" * 300_000))
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        os.kill(worker.pid, signal.SIGCONT)
        assert (await checker.check()).spf.outcome is Outcome.PASS
        assert not worker._pending
        assert checker.checker._places.free == AT_ONCE

    runner.run(main())


def test_a_worker_that_cannot_start_is_retried_with_growing_pauses(zone, monkeypatch):
    async def main():
        starts = []
        start_really = WorkerProcess._start

        async def start(servers):
            starts.append(time.monotonic())
            if len(starts) < 4:
                raise OSError
            return await start_really(servers)

        async with running(zone, backoff=0.04) as checker:
            monkeypatch.setattr(WorkerProcess, "_start", start)
            await (await checker.checker._worker).stop()
            for _ in range(1_000_000):
                await asyncio.sleep(0)
                if await checker.check() != Unchecked(Reason.CANCELLED):
                    break
            waited = [later - earlier for earlier, later in pairwise(starts)]
            assert len(waited) == 3
            assert all(seconds >= 0.04 * 2**n for n, seconds in enumerate(waited))

    run(main())


def test_an_unexpected_error_at_the_start_of_the_worker_ends_neither_the_checks_nor_the_stop(zone, monkeypatch):
    start, tries = WorkerProcess.start, []

    async def fails_first(*arguments):
        tries.append(arguments)
        if len(tries) == 1:
            raise RuntimeError("cannot start a thread")
        return await start(*arguments)

    monkeypatch.setattr(WorkerProcess, "start", fails_first)

    async def main():
        async with running(zone, backoff=0.001, probe_again=0.01) as checker:
            await checker.change()
            assert checker.changes == [False, True]
            assert checker.reasons == [Reason.NO_WORKER], "the DNS was not queried"
            assert (await checker.check()).spf.outcome is Outcome.PASS
        monkeypatch.setattr(WorkerProcess, "start", lambda *_: fails_first())
        tries.clear()
        async with running(zone) as checker:
            assert checker.changes == [False]

    run(main())


def test_a_silent_dns_is_reported_after_a_worker_that_did_not_start(monkeypatch):
    results = [None, None, False, False, True]

    async def probe(_):
        return results.pop(0) if results else await asyncio.Event().wait()

    monkeypatch.setattr(Checker, "_probe", probe)

    async def main():
        reported, works = [], asyncio.Event()

        def on_change(why_not):
            reported.append(why_not)
            if why_not is None:
                works.set()

        checker = Checker([], on_change, limits=Limits(backoff=0.001, probe_again=0.001))
        await checker.start()
        async with asyncio.timeout(PATIENCE):
            await works.wait()
        await checker.stop()
        assert reported == [Reason.NO_WORKER, Reason.DNS_SILENT, None]

    run(main())


def test_a_worker_that_dies_immediately_is_not_restarted_before_the_pause(zone, monkeypatch):
    async def main():
        starts = []

        async def start(*_):
            starts.append(time.monotonic())
            pipe = asyncio.subprocess.PIPE
            return await asyncio.create_subprocess_exec("false", stdin=pipe, stdout=pipe)

        async with running(zone, backoff=60) as checker:
            monkeypatch.setattr(WorkerProcess, "_start", start)
            await (await checker.checker._worker).stop()
            for _ in range(20):
                assert await checker.check() == Unchecked(Reason.CANCELLED)
            assert len(starts) == 1

    run(main())


@pytest.mark.parametrize(
    "message",
    [b"", b"\r\n", b"\x00" * 1_000, bytes(range(256)), b"From: \r\n" * 10_000, b"DKIM-Signature: ;\r\n" * 1_000],
)
def test_hostile_messages_get_verdicts(shared, message):
    runner, checker = shared
    assert runner.run(checker.check(message)).dmarc.outcome is Outcome.PERMERROR


@pytest.mark.parametrize("value", ["", "\x00", "a\r\nb", "\ud800@\udfff", "%{d}@%{s}.example", "@" * 1_000, '"@"@"'])
def test_hostile_claims_get_verdicts(shared, value):
    runner, checker = shared
    assert runner.run(checker.check(MESSAGE, Claim(value, value, value))).spf.outcome is not Outcome.PASS


def test_the_worker_ends_when_its_input_is_closed(zone):
    async def main():
        async with running(zone) as checker:
            process = (await checker.checker._worker)._process
            process.stdin.close()
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 0

    run(main())


def test_verdicts_are_the_same_after_transfer_as_json():
    verdicts = Verdicts(
        Spf(Outcome.FAIL, "é\ud800\n", "mailfrom", '"'),
        (Dkim(Outcome.PASS, "a", "b", "c"),),
        Dmarc(Outcome.NONE, "", naming=Naming.UNCLEAR),
    )
    assert wire.from_json(wire.to_json(verdicts)) == verdicts
