"""Writes that may share a transaction on PostgreSQL, and the messages that each transaction has stored."""

import asyncio

from tests.kit.values import TENANT, a_delivery, a_message


def message(name, *, octets=b"hi", runs=None):
    """Return a use case that looks something up and adds a message."""

    def add(tx):
        if runs is not None:
            runs.append(name)
        tx.instance(TENANT, "i")
        tx.add_message(a_message(name, size=len(octets)), octets, [a_delivery(message_id=name)], [])
        return name

    return add


async def together(store, *use_cases):
    """Run writes that wait at the same time, and return their results and exceptions."""
    writes = [store.write(use_case, may_share=True) for use_case in use_cases]
    return await asyncio.gather(*writes, return_exceptions=True)


def stored(admin):
    """Return the ids of the messages, for each transaction that added some."""
    rows = admin.execute("SELECT array_agg(id ORDER BY id) FROM messages GROUP BY xmin::text ORDER BY min(id)")
    return [ids for (ids,) in rows]
