"""Sets the clock of a server forward and back with libfaketime, and lets the clocks of two servers drift apart."""

import time

from faults.campaign.kills import kill_server

NEAR = (-240, -60, -3, 3, 60, 240)
"""Seconds by which the clock jumps. Signatures of API calls are still accepted."""

FAR = (-3_600, 3_600, -86_400, 86_400)
"""Seconds with which the server refuses API calls, because their signatures look too old or too new."""


def jump(site, chance):
    """Set the clock forward or back, and then right again."""
    began = time.monotonic()
    site.clocks[0].set(chance.choice(NEAR))
    time.sleep(chance.uniform(1.0, 2.5))  # a server reads the file of its clock once a second
    site.clocks[0].set(0)
    site.window("the clock was set", began)


def jump_far(site, chance):
    """Set the clock an hour or a day forward or back, and then right again."""
    began = time.monotonic()
    site.clocks[0].set(chance.choice(FAR))
    time.sleep(chance.uniform(1.0, 2.0))
    site.clocks[0].set(0)
    site.window("the clock was set", began)


def jump_and_kill(site, chance):
    """Set the clock forward or back, kill the server, and set the clock right while the next one runs."""
    began = time.monotonic()
    # If the clock is far ahead, what the server had claimed may wait until its leases end by that clock
    # (docs/durability.md), which takes longer than the campaign waits.
    site.clocks[0].set(chance.choice([each for each in NEAR if each <= 3]))
    time.sleep(chance.uniform(0.5, 1.5))
    kill_server(site, chance)
    site.clocks[0].set(0)
    site.window("the clock was set", began)


MOST_DRIFT = 25
"""Seconds by which each of two servers may differ from the database: less than `CLOCKS_MAY_DIFFER` of the leases."""


def drift(site, chance):
    """Let the clocks of two servers drift apart, in steps of a second, as far as the documentation allows."""
    ends = [chance.randint(-MOST_DRIFT, MOST_DRIFT) for _ in site.clocks]
    for step in range(1, 6):
        for clock, end in zip(site.clocks, ends, strict=True):
            clock.set(end * step // 5)
        time.sleep(chance.uniform(0.2, 0.7))
    for clock in site.clocks:
        clock.set(0)
