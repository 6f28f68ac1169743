"""The process-wide settings of a server, and the signals and errors that end it."""

import asyncio
import gc
import json
import logging
import os
import signal
from contextlib import suppress
from types import SimpleNamespace

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.supervised import supervised
from waypost.observe import events, logs
from waypost.observe.metrics.arrays import Arrays
from waypost.observe.tasks import OnError
from waypost.server import runtime


@pytest.fixture(autouse=True)
def _garbage_collector():
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


class Server:
    """A server that records the calls of its methods, and does nothing else."""

    def __init__(self, when_started=lambda: None):
        self.done = []
        self.emitted = []
        self.tasks = supervised(self.emitted.append)
        self._when_started = when_started

    def emit(self, event):
        self.emitted.append(event)

    async def reload(self):
        self.done.append("reload")
        return True

    async def start(self):
        self.done.append("start")
        asyncio.get_running_loop().call_soon(self._when_started)
        return "the addresses"

    async def stop(self):
        self.done.append("stop")


def run(server, when_ready=lambda _: None):
    async def limited():
        async with asyncio.timeout(PATIENCE):
            await runtime.run(server, when_ready)

    asyncio.run(limited())


def file_mode(path):
    path.touch()
    return path.stat().st_mode & 0o777


def test_the_process_of_a_server_is_set_up_and_restored_afterwards(tmp_path, capsys):
    root = logging.getLogger()
    handlers, umask = root.handlers[:], os.umask(0o022)
    try:
        with runtime.process_of_a_server(logs.Log(), Arrays().of(0)) as process:
            logging.getLogger("asyncio").error("something failed")
            process.emit(events.Stopped())
            assert file_mode(tmp_path / "inside") == 0o600
            assert process.files >= 1
        assert file_mode(tmp_path / "outside") == 0o644
    finally:
        os.umask(umask)
    assert root.handlers == handlers
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line.get("where")) for line in lines] == [("failed", "asyncio"), ("stopped", None)]


def test_the_log_is_written_completely_when_a_start_fails(capsys):
    with suppress(RuntimeError), runtime.process_of_a_server(logs.Log(), Arrays().of(0)) as process:
        process.emit(events.Stopped())
        raise RuntimeError
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_gracefully(number):
    server, reported = Server(lambda: os.kill(os.getpid(), number)), []
    run(server, reported.append)
    assert reported == ["the addresses"]
    assert server.done == ["start", "stop"]
    assert server.emitted == [events.Stopping(signal=number.name)]


def test_sighup_reloads_and_tells_systemd():
    server, told, results = Server(), [], []

    def reloaded(is_usable):
        results.append(is_usable)
        os.kill(os.getpid(), signal.SIGTERM)

    async def limited():
        async with asyncio.timeout(PATIENCE):
            hang_up = asyncio.get_running_loop().call_soon
            ready = lambda _: hang_up(os.kill, os.getpid(), signal.SIGHUP)  # noqa: E731
            await runtime.run(server, ready, when_reloaded=reloaded, notify=told.append)

    before = signal.getsignal(signal.SIGHUP)
    asyncio.run(limited())
    signal.signal(signal.SIGHUP, before)
    assert server.done == ["start", "reload", "stop"]
    assert results == [True]
    assert [message.partition("\n")[0] for message in told] == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_sighup_during_the_start_reloads_after_it():
    server, results = Server(), []
    start = server.start

    async def hung_up_while_starting():
        os.kill(os.getpid(), signal.SIGHUP)
        return await start()

    server.start = hung_up_while_starting

    def reloaded(is_usable):
        results.append(is_usable)
        os.kill(os.getpid(), signal.SIGTERM)

    async def limited():
        async with asyncio.timeout(PATIENCE):
            await runtime.run(server, lambda _: None, when_reloaded=reloaded)

    before = signal.getsignal(signal.SIGHUP)
    asyncio.run(limited())
    signal.signal(signal.SIGHUP, before)
    assert server.done == ["start", "reload", "stop"]


def test_the_server_ends_with_a_reference_to_the_log_if_a_task_that_it_needs_fails():
    async def fails():
        raise RuntimeError("a bug")

    server = Server(lambda: server.tasks.start(fails, where="http", on_error=OnError.END_SERVER))
    with pytest.raises(runtime.ServerFailed, match="http") as raised:
        run(server)
    (failed,) = server.emitted
    assert failed.id in str(raised.value)
    assert server.done == ["start", "stop"]


def test_the_server_stops_if_reporting_its_readiness_fails():
    def fails(_):
        raise OSError("no reader")

    server = Server()
    with pytest.raises(OSError, match="no reader"):
        run(server, fails)
    assert server.done == ["start", "stop"]


def test_the_limit_of_open_files_is_raised_to_the_maximum_of_the_system(monkeypatch):
    requested = []
    limits = SimpleNamespace(
        RLIMIT_NOFILE=7,
        RLIM_INFINITY=-1,
        getrlimit=lambda _: (100, 5_000),
        setrlimit=lambda *wanted: requested.append(wanted),
    )
    monkeypatch.setattr(runtime, "resource", limits)
    assert runtime.most_files() == 5_000
    assert requested == [(7, (5_000, 5_000))]


def test_the_limit_of_open_files_is_unchanged_if_the_system_refuses_more(monkeypatch):
    def refuses(*_):
        raise ValueError

    limits = SimpleNamespace(RLIMIT_NOFILE=7, RLIM_INFINITY=-1, getrlimit=lambda _: (100, 5_000), setrlimit=refuses)
    monkeypatch.setattr(runtime, "resource", limits)
    assert runtime.most_files() == 100
