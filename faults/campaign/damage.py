"""Damages a copy of a server's files, and checks that a server on the copy reports it, or serves only correct bytes."""

import http.client
import re
import shutil
import time

from faults.at_rest import damage
from faults.campaign.kills import start
from faults.clients import digest
from faults.oracle import Violation, ViolationKind
from faults.servers import Server, end, why_not_started
from faults.site import SUBJECT
from tests.kit.free_ports import at_free_ports
from tests.kit.servers.running import inspect
from waypost import testing

PAGE = 500
"""The number of messages of an inbox that are asked for at a time."""

TOLD = re.compile(r"damaged|cannot be opened|cannot be read|not a database|\bkey\b", re.IGNORECASE)
"""The messages with which a server may refuse to start on damaged files. `key` is in those about the master key."""


def at_rest(site, chance):
    """Kill the server, damage a copy of its files, and start another server on the copy, which sends nothing."""
    began, accepted = time.monotonic(), site.accepted()
    site.server.kill()
    copy = site.directory / "damaged" / "1"
    shutil.copytree(site.server.data, copy)
    start(site.server)
    site.window("kill of the server", began)
    try:
        done = damage(copy, chance.randrange(1 << 32))
        # Damage of other files can hide a message, because only its bytes have checksums.
        site.found += _check(site, copy, str(done), accepted if done.file.endswith("-wal") else {})
    finally:
        shutil.rmtree(copy.parent)


def _check(site, copy, done, accepted):
    server = Server(copy, "--config", str(site.directory / "waypost.toml"), "--hold-queue", "yes", *at_free_ports())
    try:
        server.start()
    except testing.ServerDied as died:
        if "Traceback" in str(died) or not TOLD.search(str(died)):
            return [Violation(ViolationKind.ERROR, f"{done}: {why_not_started(died, characters=500)}")]
        return []
    except Exception as error:  # noqa: BLE001 - the server ran, but its files cannot be read
        return [Violation(ViolationKind.ERROR, f"{done}: {type(error).__name__}: {error}")]
    try:
        return [*_served(site, server, done), *_listed(site, server, done, accepted)]
    finally:
        end(server)


def _served(site, server, done):
    """Yield a violation for each message that the server serves with other bytes than it was sent with."""
    known = {each.number: each.digest for each in site.sent}
    for address in {address for group in site.groups.values() for address in group.inboxes[:2]}:
        listed = _get(server, "messages", address=address, limit=500)
        for one in listed.json()["messages"] if listed else ():
            raw = _get(server, f"messages/{one['id']}/raw", address=address)
            number = one["subject"].removeprefix("fault ")
            if raw is None or number not in known:
                continue
            begins = SUBJECT.search(raw.body)
            if begins is None or digest(raw.body[begins.start() :]) != known[number]:
                served = f"{number} in {address} was served with {len(raw.body)} bytes"
                yield Violation(ViolationKind.CHANGED, f"{done}: {served}")


def _listed(site, server, done, accepted):
    """Yield a violation for each accepted message that the server lacks although it has started."""
    for name in ("inbox", "both"):
        address, listed = site.groups[name].inboxes[0], set()
        page = None
        while page is None or len(page) == PAGE:
            after = {"after": page[-1]["id"]} if page else {}
            answer = _get(server, "messages", address=address, limit=PAGE, **after)
            page = answer.json()["messages"] if answer else []
            listed |= {one["subject"].removeprefix("fault ") for one in page}
        for number in sorted({each.number for each in accepted.values() if each.group == name} - listed):
            yield Violation(ViolationKind.LOST, f"{done}: {number} is not in {address}")


def _get(server, path, **query):
    """Return a whole response that is positive; None if there is none."""
    try:
        answer = inspect(server, path, **query)
    except (OSError, http.client.HTTPException):
        return None
    return answer if answer.status == 200 else None
