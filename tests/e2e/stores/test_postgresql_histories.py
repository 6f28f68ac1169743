"""Concurrent calls to two servers on one PostgreSQL database return the same results as some sequence of calls."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import boto3
import botocore.config
import botocore.exceptions
import pytest

from tests.kit.patience import PATIENCE
from tests.kit.servers.running import BUSY, running_on
from tests.kit.stores import postgresql
from tests.linearizability.checker import Operation, check

pytestmark = pytest.mark.slow

HISTORIES = 4
CLIENTS = 6
CALLS = 8
ADDRESSES = 5

CAUGHT = "One of the two email addresses is in an alias link already"
"""The beginning of an error message that results from a constraint of the database, not from a rule of the domain."""

CONFLICTS = {
    "associate": ("ResourceConflictException", "conflict"),
    "disassociate": ("ResourceNotFoundException", "not found"),
}


class Recorder:
    """Clients of several servers, each on a separate thread, that record their calls and the results."""

    def __init__(self, systems):
        self._systems = systems
        config = botocore.config.Config(proxies={}, retries={"total_max_attempts": 1})
        self._clients = [
            boto3.client("connect", **systems[i % len(systems)].server.client_arguments, config=config)
            for i in range(CLIENTS)
        ]
        self._threads = ThreadPoolExecutor(CLIENTS)
        self.caught_by_constraint = 0

    def close(self):
        self._threads.shutdown()
        for client in self._clients:
            client.close()

    def history(self, calls=CALLS):
        """Let all clients make `calls` calls at the same time, on a few new email addresses; return the operations."""
        system = self._systems[0]
        ids = [system.ids[system.new_address()] for _ in range(ADDRESSES)]
        linked = []  # recent associations, which `disassociate` can end
        barrier = threading.Barrier(CLIENTS)

        def ask(n):
            barrier.wait(PATIENCE)
            return [self._call(n, *choose(ids, linked), ids, linked) for _ in range(calls)]

        return [operation for operations in self._threads.map(ask, range(CLIENTS)) for operation in operations]

    def _call(self, n, kind, arguments, ids, linked):
        invoked_at = time.monotonic()
        outcome = self._outcome(self._clients[n], kind, arguments, ids)
        returned_at = None if outcome is None else time.monotonic()
        if (kind, outcome) == ("associate", "ok"):
            linked.append(arguments)
        return Operation(
            process=f"client {n} of node {n % len(self._systems)}",
            kind=kind,
            arguments=tuple(f"E{ids.index(each)}" for each in arguments),
            outcome=outcome,
            invoked_at=invoked_at,
            returned_at=returned_at,
        )

    def _outcome(self, client, kind, arguments, ids):
        """Make a call and return its outcome for the checker; None if an error leaves the result unknown."""
        members = {"InstanceId": self._systems[0].instance_id, "EmailAddressId": arguments[0]}
        try:
            if kind == "describe":
                answer = client.describe_email_address(**members)
                return tuple(f"E{ids.index(each['EmailAddressId'])}" for each in answer["AliasConfigurations"])
            members["AliasConfiguration"] = {"EmailAddressId": arguments[1]}
            getattr(client, f"{kind}_email_address_alias")(**members)
            return "ok"
        except botocore.exceptions.ClientError as error:
            answer = error.response
            if answer["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                return None
            if answer["Error"]["Message"].startswith(BUSY):
                return "busy"
            self.caught_by_constraint += answer["Error"]["Message"].startswith(CAUGHT)
            code, outcome = CONFLICTS[kind]
            if answer["Error"]["Code"] != code:
                raise
            return outcome


def choose(ids, linked):
    """Choose a random kind of call, and its arguments."""
    kind = random.choices(["associate", "disassociate", "describe"], [5, 4, 3])[0]
    if kind == "describe":
        return kind, (random.choice(ids),)
    if kind == "disassociate" and linked and random.random() < 0.8:
        return kind, random.choice(linked[-3:])
    return kind, tuple(random.sample(ids, 2))


@contextmanager
def recorder_on(*systems):
    recorder = Recorder(systems)
    try:
        yield recorder
    finally:
        recorder.close()


def test_concurrent_calls_to_two_nodes_are_linearizable(tmp_path):
    url = postgresql.new_database()
    with running_on(url, tmp_path / "one", tmp_path / "other") as systems, recorder_on(*systems) as recorder:
        for _ in range(HISTORIES):
            violation = check(recorder.history())
            assert violation is None, str(violation)
    postgresql.drop_database(url)
