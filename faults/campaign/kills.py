"""Kills and stops processes of a server: at random times, and when they pass a named point."""

import os
import signal
import time

from faults import failpoints
from faults.servers import LEASE
from tests.kit.patience import wait_until
from tests.kit.servers.running import worker_pids
from waypost import testing

PASSING = ("Another Waypost server is using", "[Errno 22] Invalid argument")
"""Texts of failed starts after which the server is started again: the workers of a killed supervisor are still
finishing their work, or libfaketime has refused a pause of a process (EINVAL) while the clock was being set.
"""


def start(server):
    """Start a server whose processes have been killed."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return server.start()
        except testing.ServerDied as died:
            if not any(text in str(died) for text in PASSING) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def await_replacement(server, number, killed):
    wait_until(lambda: worker_pids(server)[number] != killed, "the worker process was not replaced", pause=0.02)


def kill_server(site, chance):
    """Kill all processes of the server."""
    time.sleep(chance.uniform(0, 0.1))
    server, began = chance.choice(site.servers), time.monotonic()
    server.kill()
    start(server)
    site.window("kill of the server", began)


def kill_worker(site, chance):
    """Kill one worker process, which the supervisor replaces."""
    time.sleep(chance.uniform(0, 0.1))
    number, began = chance.randint(1, site.workers), time.monotonic()
    killed = worker_pids(site.server)[number]
    os.kill(killed, signal.SIGKILL)
    await_replacement(site.server, number, killed)
    site.window("kill of a worker", began)


def kill_supervisor(site, chance):
    """Kill the supervisor. Its worker processes finish their work and end."""
    time.sleep(chance.uniform(0, 0.1))
    began = time.monotonic()
    os.kill(site.server._process.pid, signal.SIGKILL)
    site.server.wait_for_end()
    start(site.server)
    site.window("kill of the supervisor", began)


def kill_at(point):
    """Return an injector that kills the process that passes a point, or the whole server then."""

    def kill(site, chance):
        server, began = chance.choice(site.servers), time.monotonic()
        who = "process" if site.workers > 1 and chance.random() < 0.5 else "group"
        hit = chance.randint(1, 2 if point == failpoints.CHECKPOINT else 20)
        pause = chance.choice([0.0, 0.0, 0.02, 0.1])  # other threads of the process may go on
        workers = worker_pids(server)
        server.arm(point, hit=hit, who=who, pause=pause)
        try:
            wait_until(lambda: server.was_reached, f"the server did not pass the point: {point}", pause=0.005)
        finally:
            server.disarm()
        if who == "group":
            server.ended()
            start(server)
        else:
            wait_until(lambda: worker_pids(server) != workers, pause=0.02)
        site.window(f"kill {point}", began)

    return kill


def stop_for_longer_than_the_lease(site, chance):
    """Stop a process with SIGSTOP until all its leases have ended."""
    server, began = chance.choice(site.servers), time.monotonic()
    if site.workers > 1:
        pid = worker_pids(server)[chance.randint(1, site.workers)]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(LEASE + chance.uniform(0.5, 1.5))
        os.kill(pid, signal.SIGCONT)
    else:
        os.killpg(server._process.pid, signal.SIGSTOP)
        time.sleep(LEASE + chance.uniform(0.5, 1.5))
        os.killpg(server._process.pid, signal.SIGCONT)
    site.window("SIGSTOP for longer than the lease", began)


def stop_at_reply(site, chance):
    """Stop a process after a peer's reply, before it records the outcome, until the lease has ended."""
    server, began = chance.choice(site.servers), time.monotonic()
    server.arm(failpoints.AFTER_REPLY, hit=chance.randint(1, 10), do="stop")
    try:
        wait_until(lambda: server.was_reached, "the server did not record any outcome", pause=0.005)
        time.sleep(LEASE + chance.uniform(0.5, 1.5))
    finally:
        server.disarm()
        os.killpg(server._process.pid, signal.SIGCONT)
    site.window("SIGSTOP after the peer's reply", began)


def wait_for_slow_peer(site, chance):
    """Let a peer reply only after the lease of the delivery would have ended without being renewed."""
    seconds = site.server.lease + chance.uniform(1.0, 2.0)
    site.peer_failures.slow_once = seconds
    wait_until(lambda: not site.peer_failures.slow_once, "no peer got a message", pause=0.02)
    time.sleep(seconds + 0.5)


def kill_while_peers_fail(site, chance):
    """Kill the server while its peers fail at every stage."""
    site.peer_failures.share = 0.5
    try:
        time.sleep(chance.uniform(0.1, 0.5))
        kill_server(site, chance)
        time.sleep(chance.uniform(0, 0.3))
    finally:
        site.peer_failures.share = 0.0
