"""Tests that provoke every row of the table of refusals at a real server, and that the table has every exception."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from tests.api import refusals
from tests.api.refusals import NEVER, REFUSALS, STATUS, Scene, rest_json
from tests.kit.stores import direct_writes
from tests.kit.values import an_email_address, make_instance
from waypost.api.wire import shapes
from waypost.domain.directory.instances import Tenant
from waypost.host.sealing import new_access_key
from waypost.testing import server as waypost_server

MODEL = shapes.load()
GUEST_POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
CALLS_AT_ONCE = 10
"""Calls that are sent at the same time, so that they exceed two calls per second on a slow machine too."""

ELSEWHERE = "eu-west-1"
"""The region of the full instance, in which no test uses up the rate limit."""


@pytest.fixture(scope="module")
def strict_server():
    with waypost_server("--limits", "aws") as running:
        yield running


@pytest.fixture(scope="module")
def full_instance(strict_server):
    """An instance that has reached its quota of email addresses."""

    def fill(tx):
        make_instance(tx, "full", Tenant(strict_server.profile.key.account, ELSEWHERE))
        for number in range(100):
            tx.add_email_address(an_email_address(f"e{number}", "full"), {})

    direct_writes.write(strict_server.data, fill)
    return "full"


@pytest.fixture(scope="module")
def guest(server, new_client):
    key, _ = new_access_key(
        account=server.profile.key.account, user_name="guest", now=datetime.now(UTC), policy=json.dumps(GUEST_POLICY)
    )
    direct_writes.write(server.data, lambda tx: tx.add_access_key(key))
    return new_client(aws_access_key_id=key.id, aws_secret_access_key=key.secret)


@pytest.fixture(scope="module")
def neighbour(server, new_client):
    key, _ = new_access_key(account="1" * 12, user_name="root", now=datetime.now(UTC))
    direct_writes.write(server.data, lambda tx: tx.add_access_key(key))
    return new_client(aws_access_key_id=key.id, aws_secret_access_key=key.secret)


@pytest.fixture(scope="module")
def provoke(request, new_client, connect):
    """Make the call of a row as its caller; return the members of the call and the error response."""

    def strict(**arguments):
        return new_client(**{**request.getfixturevalue("strict_server").client_arguments, **arguments})

    def once(client, row, members):
        with pytest.raises(ClientError) as caught:
            getattr(client, shapes.snake_case(row.operation))(**members)
        return caught.value.response

    def provoke(row, scene):
        members = row.members(scene)
        match row.who:
            case refusals.GUEST:
                return members, once(request.getfixturevalue("guest"), row, members)
            case refusals.FULL:
                members = {**members, "InstanceId": request.getfixturevalue("full_instance")}
                return members, once(strict(region_name=ELSEWHERE), row, members)
            case refusals.NEIGHBOUR:
                client = request.getfixturevalue("neighbour")
                own = client.create_instance(**refusals.INSTANCE)["Id"]
                return members, once(client, row, {**members, "InstanceId": own})
            case refusals.HURRY:
                client = strict()
                with ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
                    outcomes = list(threads.map(lambda _: outcome(client, row, members), range(2 * CALLS_AT_ONCE)))
                return members, next(filter(is_throttled, outcomes))
        return members, once(connect, row, members)

    return provoke


def outcome(client, row, members):
    try:
        return getattr(client, shapes.snake_case(row.operation))(**members)
    except ClientError as error:
        return error.response


def is_throttled(response):
    return response["ResponseMetadata"]["HTTPStatusCode"] == STATUS["ThrottlingException"]


@pytest.mark.parametrize(
    "row", [row for row in REFUSALS if row.body is None], ids=lambda row: f"{row.operation}: {row.case}"
)
def test_a_call_is_refused(connect, provoke, row):
    members, response = provoke(row, Scene(connect))
    error, metadata = response["Error"], response["ResponseMetadata"]
    assert (error["Code"], metadata["HTTPStatusCode"]) == (row.error, row.status), error["Message"]
    for words in row.says:
        assert words.format(**members) in error["Message"]


@pytest.mark.parametrize(
    "row", [row for row in REFUSALS if row.body is not None], ids=lambda row: f"{row.operation}: {row.case}"
)
def test_a_body_is_refused(server, connect, signed, exchange, row):
    members = row.members(Scene(connect))
    reply = exchange(signed(rest_json(row.operation, members, row.body), server.profile.key))
    assert (reply.headers["x-amzn-errortype"], reply.status) == (row.error, row.status), reply.body
    (message,) = json.loads(reply.body).values()
    for words in row.says:
        assert words.format(**members) in message


@pytest.mark.parametrize("operation", MODEL.operations)
def test_every_exception_in_the_model_is_provoked_or_listed_as_never_returned(operation):
    provoked = {row.error for row in REFUSALS if row.operation == operation}
    never = {error for name, error in NEVER if name == operation}
    listed = set(MODEL.operations[operation].errors) - {"InternalServiceException"}
    assert provoked | never >= listed
    assert not provoked & never
    assert never <= listed


def test_every_exception_has_the_status_in_the_model_or_is_common_to_all_operations():
    common = {"AccessDeniedException", "ThrottlingException"}
    for row in REFUSALS:
        assert MODEL.operations[row.operation].errors.get(row.error, STATUS[row.error]) == row.status
        assert row.error in MODEL.operations[row.operation].errors or row.error in common


def test_every_case_is_in_the_table_once():
    cases = [(row.operation, row.case) for row in REFUSALS]
    assert len(cases) == len(set(cases))
