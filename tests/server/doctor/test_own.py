"""A running server checks itself: one run at a time, whose results answer further requests for a short time."""

import asyncio
from types import SimpleNamespace

import pytest

from waypost.config.sources import from_options
from waypost.domain import errors
from waypost.host.data_directory import DataDirectory
from waypost.host.run_file import Run
from waypost.server.doctor import facts
from waypost.server.doctor.checks import Finding, Level
from waypost.server.doctor.own import KEPT, OwnChecks


class Server:
    """A server whose checks are counted, and wait until `may_end` is set. `now` is the monotonic time."""

    def __init__(self, directory, monkeypatch):
        self.now = 1000.0
        self.examined = []
        self.has_begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.may_end.set()
        self._monkeypatch = monkeypatch
        self.settings = from_options(data=str(directory.path))
        common = SimpleNamespace(store=None, settings=self.settings, when_reloaded=self._take)
        self.checks = OwnChecks(common, monotonic=lambda: self.now)
        monkeypatch.setattr(facts, "examine", self._examine)

    def _take(self, use):
        self.reload = use

    async def _examine(self, checked):
        self.examined.append(checked)
        self.has_begun.set()
        await self.may_end.wait()
        return [Finding("disk", Level.PROBLEM, f"run {len(self.examined)}")]

    async def run(self):
        return (await self.checks.run())["findings"][0]["text"]


@pytest.fixture
def directory(tmp_path):
    """The data directory of a running server."""
    directory = DataDirectory(tmp_path)
    directory.announce(Run("127.0.0.1:1", "127.0.0.1:2"))
    return directory


@pytest.fixture
def server(directory, monkeypatch):
    return Server(directory, monkeypatch)


def test_the_results_answer_further_requests_for_a_short_time(server):
    async def requests():
        yield await server.run()
        server.now += KEPT - 0.1
        yield await server.run()
        server.now += 0.1
        yield await server.run()

    async def collected():
        return [one async for one in requests()]

    assert asyncio.run(collected()) == ["run 1", "run 1", "run 2"]


def test_requests_at_the_same_time_share_a_run(server):
    async def requests():
        server.may_end.clear()
        several = [asyncio.create_task(server.run()) for _ in range(5)]
        await server.has_begun.wait()
        server.may_end.set()
        return await asyncio.gather(*several)

    assert asyncio.run(requests()) == ["run 1"] * 5


def test_new_settings_are_checked_at_once(server):
    changed = from_options(data=str(server.settings.data), disk_reserve="1GiB")

    async def requests():
        yield await server.run()
        server.reload(changed)
        yield await server.run()

    async def collected():
        return [one async for one in requests()]

    assert asyncio.run(collected()) == ["run 1", "run 2"]
    assert [each.settings for each in server.examined] == [server.settings, changed]


def test_a_run_that_fails_is_not_kept(server, monkeypatch):
    async def fail(checked):
        raise OSError("no more files")

    async def requests():
        monkeypatch.setattr(facts, "examine", fail)
        with pytest.raises(OSError, match="no more files"):
            await server.run()
        monkeypatch.setattr(facts, "examine", server._examine)
        return await server.run()

    assert asyncio.run(requests()) == "run 1"


def test_the_result_says_whether_there_is_a_problem_and_when_it_was_found(server):
    found = asyncio.run(server.checks.run())
    assert found["is_healthy"] is False
    assert found["checked_at"].endswith("Z")
    assert found["findings"] == [{"check": "disk", "level": "problem", "text": "run 1"}]


def test_a_server_that_is_not_ready_does_not_listen_on_its_own_addresses(directory, monkeypatch):
    directory.release()
    server = Server(directory, monkeypatch)
    with pytest.raises(errors.Conflict, match="is starting or stopping"):
        asyncio.run(server.run())
    assert server.examined == []


def test_a_damaged_file_is_named(directory, monkeypatch):
    (directory.path / "run.json").write_text("{")
    with pytest.raises(errors.Conflict, match=r"run\.json is damaged"):
        asyncio.run(Server(directory, monkeypatch).run())
