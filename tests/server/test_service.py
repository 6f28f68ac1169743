"""The service as a whole: its start, a start that fails, and its maintenance in the background."""

import asyncio
import errno
import os
import socket
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.kit.patience import PATIENCE
from waypost.app.directory import idempotency
from waypost.app.mail import routes
from waypost.config.sources import from_options
from waypost.delivery.queue.worker import Worker
from waypost.domain.mail.routes import Route
from waypost.host.data_directory import DataDirectory
from waypost.host.directory_files import DataDirectoryError
from waypost.observe import events
from waypost.server import maintenance, opening
from waypost.server.service import Service


def test_a_start_that_fails_leaves_nothing_open(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        smtp = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = from_options(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp=smtp)
        with pytest.raises(opening.CannotStart, match="Address already in use"):
            asyncio.run(Service(settings).start())
    with DataDirectory(tmp_path / "data").held():  # the lock is free again
        pass


@pytest.mark.parametrize("host", ["127.0..1", "a..b"])
def test_the_message_for_an_invalid_api_host_is_in_plain_words(tmp_path, host):
    """The message used to be `Unknown error -2`."""
    settings = from_options(data=str(tmp_path / "data"), http=f"{host}:0", smtp="127.0.0.1:0")
    with pytest.raises(opening.CannotStart) as refused:
        asyncio.run(Service(settings).start())
    assert str(refused.value) == (
        f"Cannot listen on {host}:0: no such host. With --http, name an address of this machine, such as 127.0.0.1:0."
    )


def test_a_route_that_leads_back_ends_the_start_before_the_server_listens_or_claims_mail(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:  # a port that is free after the socket is closed
        port = taken.getsockname()[1]
    begun = []
    monkeypatch.setattr(Worker, "start", lambda _: begun.append("worker"))
    smtp = f"127.0.0.2:{port + 1 if port < 65535 else 1024},localhost:{port}"
    settings = from_options(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp=smtp)
    settings = replace(settings, routes=(Route(match="*", to=f"smtp://127.0.0.1:{port}"),))
    service = Service(settings, emit=begun.append)
    with pytest.raises(opening.CannotStart, match="leads back to this server"):
        asyncio.run(service.start())
    assert [event for event in begun if not isinstance(event, events.Stopped)] == []


def test_run_json_has_the_values_that_a_command_needs_to_check_a_route(tmp_path):
    settings = from_options(
        data=str(tmp_path / "data"),
        http="127.0.0.1:0",
        smtp="127.0.0.1:0,127.0.0.2:0",
        lmtp="127.0.0.1:0",
        hostname="our.example",
        dns="192.0.2.53",
        config="waypost.toml",
    )

    async def scenario():
        service = Service(settings)
        started = await service.start()
        found = DataDirectory(tmp_path / "data").running()
        await service.stop()
        return started, found

    started, found = asyncio.run(scenario())
    assert [address.partition(":")[0] for address in found.listeners] == ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
    assert {started.smtp, started.lmtp} <= set(found.listeners)
    assert (found.hostname, found.dns, found.config) == (
        "our.example",
        "192.0.2.53:53",
        str(Path("waypost.toml").absolute()),
    )


def test_the_start_logs_an_unreachable_route_that_was_set_by_command(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = f"smtp://127.0.0.1:{taken.getsockname()[1]}"
    logged = []

    async def scenario():
        settings = from_options(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0")
        for is_set in (True, False):
            found = asyncio.Event()

            def emit(event, found=found):
                logged.append(event)
                if isinstance(event, events.RouteUnreachable):
                    found.set()

            service = Service(settings, emit=emit)
            await service.start()
            if is_set:
                set_it = partial(routes.add_route, route=Route(match="*", to=gone), before=None)
                await opening.administer(service.directory, set_it)
            else:
                async with asyncio.timeout(PATIENCE):
                    await found.wait()
            await service.stop()

    asyncio.run(scenario())
    (unreachable,) = [event for event in logged if isinstance(event, events.RouteUnreachable)]
    assert unreachable.reason == "connect: unreachable"


def test_a_start_that_fails_does_not_log_that_it_stopped(tmp_path):
    logged = []

    async def start():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            smtp = f"127.0.0.1:{taken.getsockname()[1]}"
            settings = from_options(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp=smtp)
            service = Service(settings, emit=logged.append)
            with pytest.raises(opening.CannotStart):
                await service.start()

    asyncio.run(start())
    assert not [event for event in logged if isinstance(event, events.Stopped)]


def test_the_last_log_line_says_that_the_server_has_stopped(tmp_path):
    logged = []

    async def start():
        settings = from_options(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0")
        service = Service(settings, emit=logged.append)
        await service.start()
        await service.stop()

    asyncio.run(start())
    assert logged[-1] == events.Stopped()


@pytest.mark.parametrize("fails", ["access", "unlink"])
def test_a_directory_that_cannot_be_prepared_is_unlocked_again(tmp_path, monkeypatch, fails):
    directory = DataDirectory(tmp_path / "data")
    directory.make()
    directory.database.touch()

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patched:
        if fails == "access":
            patched.setattr(os, "access", lambda *_: False)
        else:
            patched.setattr(os, "unlink", denied)
        with pytest.raises(DataDirectoryError, match=r"cannot be written|cannot be used: Permission denied"):
            directory.prepare()
    with DataDirectory(tmp_path / "data").held():
        pass


def test_an_error_in_the_maintenance_is_logged_and_the_next_round_still_runs(tmp_path, monkeypatch):
    rounds, logged = [], []
    loop = third = None

    def purge(tx, *, now, retention):
        rounds.append((now, retention))
        if len(rounds) == 3:
            loop.call_soon_threadsafe(third.set)
        if len(rounds) == 1:
            raise RuntimeError("a bug")
        return False

    monkeypatch.setattr(idempotency, "purge", purge)
    monkeypatch.setattr(maintenance, "EVERY", 0)
    settings = from_options(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0", token_retention="2h")

    async def run():
        nonlocal loop, third
        loop, third = asyncio.get_running_loop(), asyncio.Event()
        service = Service(settings, emit=logged.append)
        await service.start()
        async with asyncio.timeout(PATIENCE):
            await third.wait()
        await service.stop()

    asyncio.run(run())
    assert rounds[0][1] == timedelta(hours=2)
    assert [event.where for event in logged if isinstance(event, events.Failed)] == ["expired tokens and sessions"]
