"""Tests that kill random processes of a server with two worker processes: all acknowledged data exists exactly once."""

import os
import random
import signal
import time
from contextlib import ExitStack

import pytest

from proofs.load import Load, Sender, Writer, check_mail, errors_of
from tests.kit.free_ports import at_free_ports
from tests.kit.patience import wait_until
from tests.kit.servers.running import MASTER_KEY, System, worker_pids
from tests.kit.stores.postgresql import OwnServer
from waypost import testing
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.server.supervisor.restarts import MOST

KILLS = 100
SUPERVISOR = 0
"""Stands for the supervisor among the numbers of the worker processes."""


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request, tmp_path, monkeypatch):
    monkeypatch.setenv(MASTER_KEY_VARIABLE, MASTER_KEY)
    with ExitStack() as opened:
        options = ["--workers", "2", *at_free_ports()]
        if request.param == "postgresql":
            options += ["--database", opened.enter_context(OwnServer()).new_database()]
        server = testing.Server(tmp_path / "data", *options)
        server.start()
        yield server
        server.stop()


def pid_of(server, number):
    if number == SUPERVISOR:
        return server._process.pid
    return worker_pids(server)[number]


def kill(server, number):
    """Kill a process of the server, and wait until the server is complete again."""
    killed = pid_of(server, number)
    os.kill(killed, signal.SIGKILL)
    if number != SUPERVISOR:
        wait_until(lambda: pid_of(server, number) != killed)
        return
    server._wait_for_end()
    while True:
        try:
            server.start()
        except testing.ServerDied as died:  # the worker processes of the killed supervisor are finishing their work
            if "Another Waypost server is using" not in str(died):
                raise
            time.sleep(0.05)
        else:
            return


def test_random_processes_are_killed_a_hundred_times_under_load_and_nothing_acknowledged_is_lost(server):
    system = System(server)
    alias, primary = system.linked_pair()
    writers, senders = [Writer(system) for _ in range(4)], [Sender(system, alias) for _ in range(8)]
    callers = [*writers, *senders]
    began, killed, ends = time.monotonic(), [0, 0, 0], 0
    with Load(callers) as load:
        for _ in range(KILLS):
            load.wait_for_more(random.randint(1, 30), seconds=60)
            # More than twenty ends of worker processes within a minute would end the server. A new supervisor counts
            # from zero.
            number = random.choice([SUPERVISOR, 1, 1, 2, 2]) if ends < MOST else SUPERVISOR
            kill(server, number)
            killed[number] += 1
            ends = ends + 1 if number != SUPERVISOR else 0
        load.wait_for_more(3, seconds=60)
    took = time.monotonic() - began
    for writer in writers:
        writer.check(system)
    accepted, found = check_mail(system, senders, alias, primary)
    system.connect.close()
    calls = sum(len(writer.done) for writer in writers)
    print(
        f"\n{KILLS} kills in {took:.0f} s: the supervisor {killed[0]}, the workers {killed[1]} and {killed[2]} times:"
    )
    print(f"  {calls} calls and {accepted} messages acknowledged, none lost; {found - accepted} others also exist")
    print(f"  errors of calls {errors_of(writers)}, of mail {errors_of(senders)}")
