"""Takes resources away from a running server: memory and file descriptors."""

import resource
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

from faults.campaign.kills import start
from tests.kit.patience import wait_until
from tests.kit.servers.running import worker_pids

HUGE = resource.RLIM_INFINITY


def processes(site):
    """Return the processes of the server that serve clients."""
    pids = worker_pids(site.server).values() if site.workers > 1 else [site.server._process.pid]
    return [psutil.Process(pid) for pid in pids]


@contextmanager
def limited(of, which, value):
    """Limit a resource of a running process in the `with` block."""
    _, hardest = resource.prlimit(of.pid, which)
    resource.prlimit(of.pid, which, (value, hardest))
    try:
        yield
    finally:
        if psutil.pid_exists(of.pid):
            resource.prlimit(of.pid, which, (hardest, hardest))


def out_of_memory(site, chance):
    """Limit the address space (`ulimit -v`) of a process to little more than it uses, for some time."""
    of, began = chance.choice(processes(site)), time.monotonic()
    with limited(of, resource.RLIMIT_AS, of.memory_info().vms + chance.choice([0, 1 << 20, 8 << 20])):
        time.sleep(chance.uniform(0.3, 1.5))
    recover(site)
    site.window("no memory", began)


def no_descriptors(site, chance):
    """Limit the open files of a process to about as many as it has (EMFILE), for some time."""
    of, began = chance.choice(processes(site)), time.monotonic()
    highest = max(int(file.name) for file in Path(f"/proc/{of.pid}/fd").iterdir())
    with limited(of, resource.RLIMIT_NOFILE, highest + chance.randint(0, 3)):
        time.sleep(chance.uniform(0.3, 1.5))
    recover(site)
    site.window("no file descriptors", began)


def recover(site):
    """Start the server again if it has ended, as the service manager does."""
    wait_until(lambda: not site.server.is_running or _answers(site), "the server neither works nor ends", pause=0.05)
    if not site.server.is_running:
        site.server.ended()
        start(site.server)


def _answers(site):
    try:
        return site.system.get("queue").status == 200
    except OSError:
        return False
