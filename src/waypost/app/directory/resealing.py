"""Seal all secrets in the store with the newest key, in small steps.

A step changes only secrets that are not sealed with the newest key, so the work can be repeated after an interruption.
"""

from collections.abc import Callable

from waypost.app import ports
from waypost.app.steps import Step, run_steps

AT_ONCE = 50
"""The maximum number of access keys in one transaction."""


async def reseal(store: ports.Store, *, report: Callable[[int], None] = lambda _: None) -> int:
    """Seal all secrets with the newest key. Return how many secrets of access keys and routes were sealed again.

    `report` is called with the number so far. When the function returns, no secret is sealed with another key.
    """

    def step(tx: ports.WriteTx, after: str | None) -> Step[int, str]:
        return Step(*tx.reseal_access_keys(after=after or "", limit=AT_ONCE))

    await store.write(lambda tx: tx.begin_reseal())
    count = 0
    async for done in run_steps(store.write, step):
        count += done
        report(count)
    count += await store.write(lambda tx: tx.reseal_routes())
    report(count)
    return count
