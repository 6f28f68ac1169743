"""Faults of PostgreSQL and of the network before it."""

import time
from contextlib import ExitStack, suppress

import psycopg

from tests.kit.patience import wait_until
from tests.kit.stores.postgresql import ServerDied


def _restart(site):
    site.database.start()
    wait_until(lambda: _works(site.url), "PostgreSQL does not work again", pause=0.02)


def _works(url):
    with suppress(psycopg.Error), psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)
    return False


def kill(site, chance):
    """Kill all processes of PostgreSQL."""
    time.sleep(chance.uniform(0, 0.2))
    began = time.monotonic()
    site.database.kill()
    time.sleep(chance.uniform(0, 0.3))
    _restart(site)
    site.window("kill of PostgreSQL", began)


def kill_in_checkpoint(site, chance):
    """Kill all processes of PostgreSQL during a checkpoint."""
    began = time.monotonic()
    with suppress(psycopg.Error), psycopg.connect(site.url, autocommit=True) as admin:
        admin.pgconn.send_query(b"CHECKPOINT")
        time.sleep(chance.uniform(0, 0.02))
        site.database.kill()
    _restart(site)
    site.window("kill of PostgreSQL", began)


def stop(mode):
    """Return an injector that stops PostgreSQL in this mode, and starts it again."""

    def stop_it(site, chance):
        time.sleep(chance.uniform(0, 0.2))
        began = time.monotonic()
        site.database.stop(mode)
        time.sleep(chance.uniform(0, 0.3))
        _restart(site)
        site.window(f"{mode} stop of PostgreSQL", began)

    return stop_it


def cut_commit(when):
    """Return an injector that cuts some connections at a COMMIT."""

    def cut(site, chance):
        began = time.monotonic()
        for _ in range(chance.randint(1, 4)):
            before = site.proxy.commits_cut
            site.proxy.cut_next_commit(when)
            wait_until(lambda: site.proxy.commits_cut > before, "there was no COMMIT", pause=0.005)  # noqa: B023
        site.window(f"connection cut {when} COMMIT", began)

    return cut


def reset(site, chance):
    """Cut all connections several times."""
    began = time.monotonic()
    for _ in range(chance.randint(1, 5)):
        site.proxy.cut()
        time.sleep(chance.uniform(0, 0.2))
    site.window("connections reset", began)


def delay(site, chance):
    """Delay everything on the network, and then hold it back for some time."""
    began = time.monotonic()
    site.proxy.delay = chance.uniform(0.002, 0.05)
    time.sleep(chance.uniform(0.3, 1.0))
    site.proxy.delay = 0.0
    site.proxy.hold()
    time.sleep(chance.uniform(0.1, 1.0))
    site.proxy.release()
    site.window("network delayed", began)


def cut_one_way(site, chance):
    """Let everything disappear that is sent in one direction, and then cut the connections."""
    began = time.monotonic()
    site.proxy.drops = {chance.choice(["to server", "to client"])}
    time.sleep(chance.uniform(0.1, 1.0))
    site.proxy.cut()
    site.proxy.drops = set()
    site.window("network cut one way", began)


def exhaust(site, chance):
    """Take all connections that PostgreSQL allows, and end some of the server's."""
    began = time.monotonic()
    with ExitStack() as opened:
        with suppress(psycopg.OperationalError):
            while True:
                opened.enter_context(psycopg.connect(site.url, autocommit=True))
        site.proxy.cut()
        with suppress(psycopg.OperationalError):
            for _ in range(10):
                opened.enter_context(psycopg.connect(site.url, autocommit=True))
        time.sleep(chance.uniform(0.2, 1.0))
    site.window("connections exhausted", began)


def disk_full(site, chance):
    """Fill the file system of PostgreSQL's log, which makes it crash; then make room again."""
    time.sleep(chance.uniform(0, 0.2))
    began = time.monotonic()
    site.small_disk.fill()
    try:
        time.sleep(chance.uniform(0.3, 1.5))
    finally:
        site.small_disk.free()
    if site.database._postmaster.process.poll() is not None:
        _restart(site)
    try:
        wait_until(lambda: _works(site.url), "PostgreSQL does not work again", pause=0.02)
    except ServerDied:
        _restart(site)
    site.window("PostgreSQL's disk full", began)


def fail_over(site, chance):
    """Kill PostgreSQL, and let its synchronous standby take over. The servers find it at the same address."""
    standby = site.standby.make()
    time.sleep(chance.uniform(0, 0.3))
    began = time.monotonic()
    site.proxy.hold()  # nobody may reach the old server any more
    try:
        target = site.standby.fail_over(standby)
    finally:
        site.proxy.release()
    site.proxy.lead_to(target)
    site.url = site.standby.url(site.url)
    site.window("failover to a synchronous standby", began)
