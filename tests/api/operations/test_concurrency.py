"""Tests of concurrent calls: if two calls contradict each other, exactly one of them succeeds."""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from botocore.exceptions import ClientError

from tests.kit.patience import PATIENCE

ROUNDS = int(os.environ.get("WAYPOST_ROUNDS", "20"))
"""The number of rounds for each contradiction. `make proofs` sets it to 125."""

# Each row has two pairs of (primary, alias), of which only one can be linked.
CONTRADICTIONS = {
    "one-primary-two-aliases": ((0, 1), (0, 2)),
    "one-alias-two-primaries": ((1, 0), (2, 0)),
    "a-chain": ((0, 1), (1, 2)),
    "two-addresses-as-each-other-s-alias": ((0, 1), (1, 0)),
}


@pytest.fixture(scope="module")
def clients(new_client):
    return [new_client(), new_client()]


def at_once(calls):
    """Make the calls at the same time, each in its own thread; return the response or error of each call."""
    barrier = Barrier(len(calls))

    def one(call):
        barrier.wait(timeout=PATIENCE)
        try:
            return call()
        except ClientError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(one, calls))


@pytest.mark.parametrize("pairs", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_of_two_contradicting_links_exactly_one_is_created(clients, instance_id, new_address, pairs):
    ids = [new_address() for _ in range(3)]
    both = [
        {
            "InstanceId": instance_id,
            "EmailAddressId": ids[primary],
            "AliasConfiguration": {"EmailAddressId": ids[alias]},
        }
        for primary, alias in pairs
    ]
    for _ in range(ROUNDS):
        outcomes = at_once(
            [
                lambda client=client, members=members: client.associate_email_address_alias(**members)
                for client, members in zip(clients, both, strict=True)
            ]
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, ClientError)]
        assert [error.response["Error"]["Code"] for error in refused] == ["ResourceConflictException"]
        (winner,) = (number for number, outcome in enumerate(outcomes) if outcome not in refused)
        assert aliases(clients[0], both[winner]) == [both[winner]["AliasConfiguration"]]
        clients[0].disassociate_email_address_alias(**both[winner])


def aliases(client, members):
    found = client.describe_email_address(InstanceId=members["InstanceId"], EmailAddressId=members["EmailAddressId"])
    return found["AliasConfigurations"]


def test_concurrent_calls_with_the_same_client_token_create_one_address(connect, instance_id, spelling):
    members = {"InstanceId": instance_id, "EmailAddress": spelling(), "ClientToken": str(uuid.uuid4())}
    answers = at_once([lambda: connect.create_email_address(**members)] * 20)
    assert len({answer["EmailAddressId"] for answer in answers}) == 1


def test_concurrent_calls_without_a_client_token_create_one_address(connect, instance_id, spelling):
    members = {"InstanceId": instance_id, "EmailAddress": spelling()}
    outcomes = at_once([lambda: connect.create_email_address(**members)] * 5)
    refused = [outcome for outcome in outcomes if isinstance(outcome, ClientError)]
    assert [error.response["Error"]["Code"] for error in refused] == ["DuplicateResourceException"] * 4
