"""The tests of a process share a few servers."""

import os

import pytest

from waypost.testing import NoServer, ServerRefused, shared


class Kit:
    """Stands for a server."""

    def __init__(self, log=None, **settings):
        self.settings = settings
        self.did = []
        self.is_running = False
        self.when_reset = None

    def start(self):
        self.is_running = True
        self.did.append("start")
        return self

    def stop(self):
        self.is_running = False
        self.did.append("stop")

    def discard(self):
        self.did.append("discard")

    def reset(self):
        self.did.append("reset")
        if self.when_reset:
            raise self.when_reset


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
    assert first.did == ["start"]
    assert used(servers) is first
    assert first.did == ["start", "reset"]


def test_a_server_that_was_handed_out_is_emptied_before_a_test_uses_it(servers):
    running = servers.running({})
    assert used(servers) is running
    assert running.did == ["start", "reset"]
    assert servers.running({}) is running
    assert used(servers) is running
    assert running.did == ["start", "reset", "reset"]


def test_the_servers_that_were_not_used_for_the_longest_time_are_stopped(servers):
    kits = [used(servers, limits=str(number)) for number in range(shared.MOST)]
    assert used(servers, limits="0") is kits[0]
    with servers.used({"limits": "2"}):
        new = used(servers, limits="new")
        assert [kit.is_running for kit in (*kits, new)] == [True, False, True, True, True]
    servers.stop()
    assert not any(kit.is_running for kit in (*kits, new))
    assert used(servers, limits="0") is not kits[0]


def test_a_server_that_was_handed_out_is_not_stopped_for_others(servers):
    running = servers.running({})
    for number in range(shared.MOST + 1):
        used(servers, limits=str(number))
    assert running.is_running
    assert servers.running({}) is running
    servers.stop()
    assert not running.is_running


def test_a_server_that_has_ended_is_started_again_with_the_same_kit(servers):
    running = servers.running({})
    running.is_running = False
    assert used(servers) is running
    assert running.did == ["start", "discard", "start"]


@pytest.mark.parametrize("error", [NoServer, ServerRefused])
def test_a_server_that_cannot_be_emptied_is_started_again(servers, error):
    kit = used(servers)
    kit.when_reset = error
    assert used(servers) is kit
    assert kit.did == ["start", "reset", "discard", "start"]


def test_the_server_that_was_used_last_is_known(servers):
    assert servers.last_used is None
    kit = used(servers)
    assert servers.last_used is kit
    other = servers.running({"limits": "aws"})
    assert servers.last_used is other


def test_a_forked_process_has_servers_of_its_own(servers, monkeypatch):
    of_parent = used(servers)
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    servers.stop()
    assert of_parent.is_running
    assert used(servers) is not of_parent
    assert of_parent.did == ["start"]
