"""Lets many clients of two servers make conflicting API calls at the same time, and checks their results."""

import threading
from concurrent.futures import ThreadPoolExecutor

from faults.clients import Caller, Directory
from faults.oracle import Violation, ViolationKind
from tests.linearizability.checker import check

CLIENTS, ROUNDS, CALLS = 6, 8, 6
"""The numbers of clients, of histories in one fault, and of calls of each client after it has created the addresses."""


def conflict(site, chance):
    """Record several histories: all clients create the same email addresses, link them and delete them."""
    callers = [
        Caller(
            f"client {n}",
            None,
            site.servers[n % len(site.servers)],
            site.system.instance_id,
            seed=chance.random(),
            pause=0,
        )
        for n in range(CLIENTS)
    ]
    try:
        with ThreadPoolExecutor(CLIENTS) as threads:
            for number in range(ROUNDS):
                if found := _round(callers, threads, f"h{chance.randrange(1 << 40):x}-{number}-"):
                    site.found.append(Violation(ViolationKind.HISTORY, str(found)))
                    return
    finally:
        for caller in callers:
            caller.close()


def _round(callers, threads, prefix):
    directory, barrier = Directory(prefix), threading.Barrier(len(callers))
    names = [f"{prefix}{n}" for n in range(4)]
    for caller in callers:
        caller._directory = directory
        caller.history.clear()

    def work(caller):
        for name in names:
            barrier.wait(60)
            caller.ask("create", (name,))
        barrier.wait(60)
        for _ in range(CALLS):
            caller.ask(*_choose(caller._random, names))

    list(threads.map(work, callers))
    for name in names:
        callers[0].ask("look", (name,))
    return check([each for caller in callers for each in caller.history])


def _choose(chance, names):
    kind = chance.choices(["associate", "disassociate", "look"], [6, 3, 2])[0]
    return kind, (chance.choice(names),) if kind == "look" else tuple(chance.sample(names, 2))
