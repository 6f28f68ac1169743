"""The reader and its worker process: every request gets a result or `CannotRead`, in time."""

import asyncio
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import uvloop

from tests.kit.hostile_mail import MESSAGES, message, multipart, part
from tests.kit.patience import NEVER, PATIENCE, until
from waypost.mime import reader as reader_module
from waypost.mime import reading
from waypost.mime.message import CannotRead, PartContent
from waypost.mime.reader import Reader, ReaderLimits

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])

MAIL = multipart(
    part(b"<p>hi</p><img src=cid:a><img src=https://a.example/>", "text/html"),
    part(b"picture", "image/png; name=a.png", "Content-ID: <a>"),
)


def run(main, loop=asyncio.new_event_loop):
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


def with_reader(use, loop=asyncio.new_event_loop, **limits):
    """Run a coroutine function with a reader. Limits that are not given are so high that they are not reached."""

    async def main():
        reader = Reader(ReaderLimits(**{"request": PATIENCE, "start": PATIENCE, "idle": NEVER} | limits))
        try:
            return await use(reader)
        finally:
            await reader.close()

    return run(main(), loop)


def of_process(pid, name):
    return Path(f"/proc/{pid}/{name}").read_bytes()


@LOOPS
def test_everything_about_a_message_is_read(loop):
    async def use(reader):
        assert await reader.read(MAIL) == reading.read(MAIL)
        assert await reader.part(MAIL, 3) == PartContent(b"picture", "image/png", None, "a.png")
        assert await reader.text_of(MAIL) == "hi"
        safe = await reader.html(MAIL, 2, lambda number: f"/parts/{number}", allow_remote=False)
        assert (safe.html, safe.remote) == ('<p>hi</p><img src="/parts/3"><img>', 1)
        assert 'src="https://a.example/"' in (await reader.html(MAIL, 2, str, allow_remote=True)).html

    with_reader(use, loop)


def test_what_cannot_be_read_is_refused_with_a_sentence():
    async def use(reader):
        with pytest.raises(CannotRead, match=r"^The message has no part 9\.$"):
            await reader.part(MAIL, 9)
        with pytest.raises(CannotRead, match=r"^Part 3 is not HTML\.$"):
            await reader.html(MAIL, 3, str, allow_remote=False)

    with_reader(use)


@pytest.mark.slow
@LOOPS
def test_a_large_message_does_not_block_the_event_loop(loop):
    raw = multipart(part(b"x" * 49_000_000, "application/x"))

    async def use(reader):
        longest, last = 0.0, time.thread_time()

        async def tick():
            nonlocal longest, last
            while True:
                await asyncio.sleep(0)
                longest, last = max(longest, time.thread_time() - last), time.thread_time()

        ticking = asyncio.create_task(tick())
        assert (await reader.read(raw)).parts[1].size == 49_000_000
        ticking.cancel()
        assert len((await reader.part(raw, 2)).octets) == 49_000_000
        assert longest < 0.25, "the loop's own processor time between two turns"

    with_reader(use, loop)


def test_a_message_that_is_too_large_is_refused():
    async def use(reader):
        with pytest.raises(CannotRead, match="larger than 50 MiB"):
            await reader.read(bytes(50 * 1024 * 1024 + 1))
        assert reader._worker is None

    with_reader(use)


def test_a_worker_that_takes_too_long_is_replaced():
    async def use(reader):
        await reader.read(MAIL)
        worker = reader._worker
        os.kill(worker.pid, signal.SIGSTOP)
        reader._limits = ReaderLimits(request=0.05)
        with pytest.raises(CannotRead, match=r"took more than 0\.05 seconds"):
            await reader.read(MAIL)
        assert not worker.is_alive
        reader._limits = ReaderLimits(request=PATIENCE)
        assert (await reader.read(MAIL)).text == "hi"
        assert reader._worker.pid != worker.pid

    with_reader(use)


def test_the_next_message_is_read_after_the_worker_was_killed():
    async def use(reader):
        await reader.read(MAIL)
        worker = reader._worker
        os.kill(worker.pid, signal.SIGKILL)
        await asyncio.wait([worker._listening])
        assert (await reader.read(MAIL)).text == "hi"
        os.kill(reader._worker.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(reader.read(MAIL))
        await until(lambda: reader._worker._pending)
        os.kill(reader._worker.pid, signal.SIGKILL)
        with pytest.raises(CannotRead, match="too much time or memory"):
            await waiting
        assert (await reader.read(MAIL)).text == "hi"

    with_reader(use)


def test_the_index_gets_the_text_of_a_message_whose_worker_was_killed():
    async def use(reader):
        await reader.read(MAIL)
        worker = reader._worker
        os.kill(worker.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(reader.text_of(MAIL))
        await until(lambda: worker._pending)
        os.kill(worker.pid, signal.SIGKILL)
        assert await waiting == "hi"

    with_reader(use)


def test_the_index_learns_that_no_message_can_be_read_now(monkeypatch):
    async def fails(*_):
        raise OSError

    async def use(reader):
        monkeypatch.setattr(reader_module, "launch", fails)
        with pytest.raises(OSError, match="cannot start a process"):
            await reader.text_of(MAIL)

    with_reader(use)


def test_a_request_that_is_cancelled_does_not_confuse_the_next():
    async def use(reader):
        await reader.read(MAIL)
        os.kill(reader._worker.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(reader.read(MAIL))
        await until(lambda: reader._worker._pending)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await reader.text_of(message(b"x", "text/plain")) == "x"

    with_reader(use)


def test_requests_beyond_the_queue_are_refused():
    async def use(reader):
        await reader.read(MAIL)
        os.kill(reader._worker.pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(reader.part(MAIL, 3)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(CannotRead, match="Too many messages are waiting"):
            await reader.part(MAIL, 3)
        of_index = asyncio.create_task(reader.text_of(MAIL))
        os.kill(reader._worker.pid, signal.SIGCONT)
        assert [content.octets for content in await asyncio.gather(*waiting)] == [b"picture"] * 3
        assert await of_index == "hi"

    with_reader(use, waiting=2)


def test_the_worker_ends_without_use_and_starts_again():
    async def use(reader):
        await reader.read(MAIL)
        worker = reader._worker
        await until(lambda: reader._worker is None)
        await asyncio.wait([worker._listening])
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)
        assert (await reader.read(MAIL)).text == "hi"

    with_reader(use, idle=0.01)


def test_a_worker_that_cannot_start_is_reported(monkeypatch):
    async def fails(*_):
        raise OSError

    async def hangs(*_):
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec("sleep", "1000", stdin=pipe, stdout=pipe)

    async def use(reader):
        with monkeypatch.context() as patched:
            patched.setattr(reader_module, "launch", fails)
            with pytest.raises(CannotRead, match="cannot start a process"):
                await reader.read(MAIL)
            patched.setattr(reader_module, "launch", hangs)
            reader._limits = ReaderLimits(start=0.05)
            with pytest.raises(CannotRead, match="does not start"):
                await reader.read(MAIL)
        reader._limits = ReaderLimits(start=PATIENCE, request=PATIENCE)
        assert (await reader.read(MAIL)).text == "hi"

    with_reader(use)


def test_a_closed_reader_refuses():
    async def use(reader):
        await reader.read(MAIL)
        await reader.close()
        with pytest.raises(CannotRead, match="stopping"):
            await reader.read(MAIL)

    with_reader(use)


def test_a_reader_that_is_closed_while_its_worker_starts_leaves_no_process(monkeypatch):
    started = []

    async def use(reader):
        async def closes(*arguments):
            started.append(await launch(*arguments))
            await reader.close()
            return started[0]

        launch = reader_module.launch
        monkeypatch.setattr(reader_module, "launch", closes)
        with pytest.raises(CannotRead, match="stopping"):
            await reader.read(MAIL)
        assert started[0].returncode is not None

    with_reader(use)


def test_the_worker_is_confined(monkeypatch):
    monkeypatch.setenv("WAYPOST_MASTER_KEY", "secret")

    async def use(reader):
        await reader.read(MAIL)
        pid = reader._worker.pid
        assert b"secret" not in of_process(pid, "environ")
        assert resource.prlimit(pid, resource.RLIMIT_FSIZE) == (0, 0)
        assert resource.prlimit(pid, resource.RLIMIT_AS)[0] < 500_000_000
        assert 0 < resource.prlimit(pid, resource.RLIMIT_CPU)[0] < 60

    with_reader(use)


def test_too_little_memory_is_reported():
    async def use(reader):
        await reader.read(MAIL)
        size = int(of_process(reader._worker.pid, "statm").split()[0]) * resource.getpagesize()
        resource.prlimit(reader._worker.pid, resource.RLIMIT_AS, (size + 20_000_000, size + 20_000_000))
        with pytest.raises(CannotRead, match="needs too much"):
            await reader.part(message(b"x" * 40_000_000, "application/x"), 1)
        assert (await reader.read(MAIL)).text == "hi"

    with_reader(use)


@pytest.mark.long
@pytest.mark.slow
def test_all_hostile_messages_are_read_with_little_memory():
    async def use(reader):
        await reader.read(MAIL)
        pid = reader._worker.pid
        before = most_memory(pid)
        for name, build in MESSAGES.items():
            raw = build()
            found = await reader.read(raw)
            if found.html_part:
                safe = await reader.html(raw, found.html_part, str, allow_remote=False)
                assert "<script" not in safe.html, name
            assert most_memory(pid) - before < 100_000_000, name
        assert reader._worker.pid == pid

    with_reader(use)


def most_memory(pid):
    """Return the maximum resident memory that a process has had, in bytes."""
    (line,) = (line for line in of_process(pid, "status").splitlines() if line.startswith(b"VmHWM"))
    return int(line.split()[1]) * 1024
