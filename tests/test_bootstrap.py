"""The service as a whole: what is left of a start that fails, and what is forgotten in the background."""

import asyncio
import socket
from datetime import timedelta

import pytest

from waypost import bootstrap, events, opening, upkeep
from waypost.app import idempotency
from waypost.datadir import DataDirectory
from waypost.settings import Settings


def test_a_start_that_fails_leaves_nothing_open(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        smtp = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp=smtp)
        with pytest.raises(opening.CannotStart, match="Address already in use"):
            asyncio.run(bootstrap.Service(settings).start())
    with DataDirectory(tmp_path / "data").held():  # the lock is free again
        pass


def test_a_mistake_while_forgetting_is_told_and_the_next_round_comes(tmp_path, monkeypatch):
    rounds, told = [], []
    loop = third = None

    def purge(tx, *, now, retention):
        rounds.append((now, retention))
        if len(rounds) == 3:
            loop.call_soon_threadsafe(third.set)
        if len(rounds) == 1:
            raise RuntimeError("a mistake of ours")
        return False

    monkeypatch.setattr(idempotency, "purge", purge)
    monkeypatch.setattr(upkeep, "EVERY", 0)
    settings = Settings(data=str(tmp_path / "data"), http="127.0.0.1:0", smtp="127.0.0.1:0", token_retention="2h")

    async def run():
        nonlocal loop, third
        loop, third = asyncio.get_running_loop(), asyncio.Event()
        service = bootstrap.Service(settings)
        service._emit = told.append
        await service.start()
        async with asyncio.timeout(20):
            await third.wait()
        await service.stop()

    asyncio.run(run())
    assert rounds[0][1] == timedelta(hours=2)
    assert [type(event) for event in told if isinstance(event, events.Failed)] == [events.Failed]
