"""The tests of a process share a few servers."""

import os

import pytest

from waypost.testing import shared


class Kit:
    """Stands for a server."""

    def __init__(self, log=None, **settings):
        self.settings = settings
        self.did = []
        self.is_running = False

    def start(self):
        self.is_running = True
        return self

    def stop(self):
        self.is_running = False
        self.did.append("stop")

    def discard(self):
        self.did.append("discard")

    def reset(self):
        self.did.append("reset")


@pytest.fixture
def servers(monkeypatch):
    monkeypatch.setattr(shared, "Waypost", Kit)
    return shared.Servers()


def used(servers, **settings):
    with servers.used(settings) as kit:
        return kit


def test_a_server_is_emptied_before_each_use_but_the_first(servers):
    with servers.used({}) as first, servers.used({"clock": "virtual"}) as same:
        assert first is same
        assert servers.running({}) is first
    assert first.did == []
    assert used(servers) is first
    assert first.did == ["reset"]


def test_the_servers_that_were_not_used_for_the_longest_time_are_stopped(servers):
    kits = [used(servers, limits=str(number)) for number in range(shared.MOST)]
    assert used(servers, limits="0") is kits[0]
    with servers.used({"limits": "2"}):
        new = used(servers, limits="new")
        assert [kit.is_running for kit in (*kits, new)] == [True, False, True, True, True]
    servers.stop()
    assert not any(kit.is_running for kit in (*kits, new))
    assert used(servers, limits="0") is not kits[0]


def test_a_server_that_has_ended_is_replaced(servers):
    ended = used(servers)
    ended.is_running = False
    assert used(servers) is not ended
    assert ended.did == ["discard"]


def test_a_forked_process_has_servers_of_its_own(servers, monkeypatch):
    of_parent = used(servers)
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    servers.stop()
    assert of_parent.is_running
    assert used(servers) is not of_parent
    assert of_parent.did == []
