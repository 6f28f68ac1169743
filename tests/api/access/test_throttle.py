"""Tests of the limits for the rate of calls and of wrong signatures."""

import asyncio
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError
from msgspec import structs
from msgspec.structs import replace

from tests.kit.servers.running import banner
from tests.kit.values import NOW, TENANT, TERMS, NoSeal, make_instance
from waypost.api import application
from waypost.api.access.throttle import Throttle
from waypost.api.application import Api
from waypost.api.errors import ApiError
from waypost.api.wire.http import Request
from waypost.app import limit_state
from waypost.app.limit_state import OwnState
from waypost.app.rate_limits import FailedSignatures
from waypost.domain.directory.instances import Tenant
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.limits import rates
from waypost.store.sqlite.store import SqliteStore
from waypost.testing import server as waypost_server

OTHERS = {
    "operation": (TENANT, "TagResource"),
    "account": (Tenant("111111111111", TENANT.region), "CreateInstance"),
    "region": (Tenant(TENANT.account, "eu-west-1"), "CreateInstance"),
}


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def admitted(throttle, count, tenant=TENANT, operation="CreateInstance", now=NOW):
    """Make `count` simultaneous calls; return how many are admitted."""
    refused = []
    for _ in range(count):
        try:
            throttle.admit(tenant, operation, now)
        except ApiError as error:
            refused.append((error.code, error.status, error.message))
    assert set(refused) <= {("ThrottlingException", 429, "Rate exceeded")}
    return count - len(refused)


def test_a_burst_is_admitted_and_then_calls_at_the_rate():
    throttle = Throttle(rates.AWS, OwnState())
    assert [admitted(throttle, 7, now=later(seconds)) for seconds in (0, 0, 0.5, 1.5, 60)] == [5, 0, 1, 2, 5]


@pytest.mark.parametrize(("tenant", "operation"), OTHERS.values(), ids=OTHERS)
def test_each_operation_of_an_account_and_region_has_its_own_rate(tenant, operation):
    throttle = Throttle(rates.AWS, OwnState())
    assert admitted(throttle, 9) == 5
    assert admitted(throttle, 9, tenant, operation) == 5


def test_an_account_has_one_rate_for_all_its_calls_in_the_relaxed_profile():
    throttle = Throttle(replace(rates.RELAXED, rate=rates.Rate(2, 5)), OwnState())
    assert admitted(throttle, 9) == 5
    assert admitted(throttle, 9, operation="TagResource") == 0
    assert admitted(throttle, 9, tenant=Tenant(TENANT.account, "eu-west-1")) == 0
    assert admitted(throttle, 9, tenant=Tenant("111111111111", TENANT.region)) == 5


@pytest.fixture
def few_buckets(monkeypatch):
    monkeypatch.setattr(limit_state, "MOST_TIMES", 10)


def tenants():
    return (Tenant(f"{number:012}", "us-east-1") for number in itertools.count())


def buckets(limited):
    return limited._buckets._full_at._times


@pytest.mark.usefixtures("few_buckets")
def test_the_memory_for_many_callers_is_bounded():
    throttle, failed = Throttle(rates.AWS, OwnState()), FailedSignatures(OwnState())
    for number, tenant in zip(range(100), tenants(), strict=False):
        throttle.admit(tenant, "CreateInstance", later(number / 100))
        failed.delay(f"192.0.2.{number}", later(number / 100))
        assert len(buckets(throttle)) <= 10
        assert len(buckets(failed)) <= 10


def test_the_number_of_buckets_is_limited():
    limited = Throttle(rates.AWS, OwnState())
    for _, tenant in zip(range(limit_state.MOST_TIMES + 1), tenants(), strict=False):
        limited.admit(tenant, "CreateInstance", NOW)
    assert 0 < len(buckets(limited)) <= limit_state.MOST_TIMES


@pytest.mark.usefixtures("few_buckets")
def test_full_buckets_are_dropped_first():
    throttle = Throttle(rates.AWS, OwnState())
    for _, tenant in zip(range(9), tenants(), strict=False):
        throttle.admit(tenant, "CreateInstance", NOW)
    assert admitted(throttle, 6, now=later(10)) == 5
    for _, tenant in zip(range(9), tenants(), strict=False):
        throttle.admit(tenant, "TagResource", later(10))
    assert admitted(throttle, 6, now=later(10)) == 0


@pytest.mark.usefixtures("few_buckets")
def test_the_emptiest_buckets_are_kept_when_there_are_many_callers():
    throttle = Throttle(rates.AWS, OwnState())
    assert admitted(throttle, 9) == 5
    for _, tenant in zip(range(50), tenants(), strict=False):
        throttle.admit(tenant, "TagResource", NOW)
    assert admitted(throttle, 9) == 0


@pytest.mark.usefixtures("few_buckets")
def test_a_caller_whose_bucket_was_dropped_gets_at_most_one_burst():
    throttle = Throttle(rates.AWS, OwnState())
    assert admitted(throttle, 3) == 3
    for _, tenant in zip(range(20), tenants(), strict=False):  # their buckets are emptier, so they are kept
        admitted(throttle, 5, tenant, "TagResource")
    assert (TENANT, "CreateInstance") not in buckets(throttle)
    assert admitted(throttle, 9) == 5


def test_the_responses_to_twenty_wrong_signatures_are_immediate_and_later_ones_are_delayed():
    failed = FailedSignatures(OwnState())
    delays = [failed.delay("192.0.2.1", NOW) for _ in range(30)]
    assert delays == [0] * 20 + [1, 2, 3, 4, 5] + [5] * 5


def test_after_a_pause_responses_to_wrong_signatures_are_immediate_again():
    failed = FailedSignatures(OwnState())
    for _ in range(100):
        failed.delay("192.0.2.1", NOW)
    assert failed.delay("192.0.2.1", later(5)) == 1
    assert [failed.delay("192.0.2.1", later(60)) for _ in range(21)] == [0] * 20 + [1]


SOURCES = {
    "IPv4": ("192.0.2.1", "192.0.2.2", False),
    "IPv6 of one network": ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
    "IPv6 in two spellings": ("2001:db8::1", "2001:0DB8:0000:0000:0000:0000:0000:0001", True),
    "IPv6 of two networks": ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    "mapped IPv4": ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    "mapped IPv4 in two spellings": ("::ffff:192.0.2.1", "::ffff:c000:201", True),
    "a Unix socket": ("", "", True),
    "no address": ("testclient", "192.0.2.1", False),
}


@pytest.mark.parametrize(("one", "other", "same"), SOURCES.values(), ids=SOURCES)
def test_each_source_address_has_its_own_delay(one, other, same):
    failed = FailedSignatures(OwnState())
    for _ in range(25):
        failed.delay(one, NOW)
    assert (failed.delay(other, NOW) > 0) is same


KEY = AccessKey("AKIDEXAMPLE", "a-secret", TENANT.account)
CALL = Request("GET", "/instance", "", (), b"")


class NoInstances:
    """A store that contains only one access key."""

    async def read(self, use_case):
        return use_case(self)

    def directory_version(self):
        return None

    version_of_keys = directory_version

    def access_key(self, access_key_id):
        return KEY if access_key_id == KEY.id else None

    def instances(self, tenant, *, after, limit):
        return []


@pytest.fixture
def slept(monkeypatch):
    """The delays of responses in seconds, which are recorded instead of slept."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(application.asyncio, "sleep", sleep)
    return slept


@pytest.fixture
def api():
    return Api(
        NoInstances(),
        terms=TERMS,
        throttle=Throttle(rates.AWS, OwnState()),
        failures=FailedSignatures(OwnState()),
        clock=lambda: NOW,
        emit=lambda event: None,
    )


async def answer(api, request, *, source="192.0.2.1"):
    """Send a request to an `Api`; return the status, the error code and the body of its response."""
    response = await api.answer(request, peer=source, request_id="r")
    return response.status, response.error_type or "", response.body


def ask(api, request, **arguments):
    status, code, _ = asyncio.run(answer(api, request, **arguments))
    return status, code


WRONG = {
    "unsigned": (lambda signed: CALL, "MissingAuthenticationTokenException"),
    "unknown key": (lambda signed: signed(CALL, replace(KEY, id="AKIDNOBODY"), now=NOW), "UnrecognizedClientException"),
    "wrong secret": (lambda signed: signed(CALL, replace(KEY, secret="x"), now=NOW), "InvalidSignatureException"),
    "long ago": (lambda signed: signed(CALL, KEY, now=later(-3600)), "InvalidSignatureException"),
    "other service": (lambda signed: signed(CALL, KEY, service="s3", now=NOW), "InvalidSignatureException"),
}


@pytest.mark.parametrize(("wrongly_signed", "code"), WRONG.values(), ids=WRONG)
def test_responses_to_wrong_signatures_are_delayed(api, signed, slept, wrongly_signed, code):
    request = wrongly_signed(signed)
    assert {ask(api, request) for _ in range(23)} == {(403, code)}
    assert slept == [1, 2, 3]


def test_the_response_to_a_correct_signature_is_never_delayed(api, signed, slept):
    wrong, right = signed(CALL, replace(KEY, secret="x"), now=NOW), signed(CALL, KEY, now=NOW)
    for _ in range(30):
        ask(api, wrong)
    del slept[:]
    assert ask(api, right) == (200, "")
    assert ask(api, signed(Request("GET", "/nothing", "", (), b""), KEY, now=NOW)) == (404, "UnknownOperationException")
    assert slept == []
    assert ask(api, wrong, source="192.0.2.2") == (403, "InvalidSignatureException")
    assert slept == []


def test_wrong_signatures_do_not_count_against_the_rate_of_a_key(api, signed, slept):
    for _ in range(30):
        ask(api, signed(CALL, replace(KEY, secret="x"), now=NOW))
    assert [ask(api, signed(CALL, KEY, now=NOW))[0] for _ in range(6)] == [200] * 5 + [429]


def test_refused_calls_count_against_the_rate(api, signed, slept):
    bad = structs.replace(CALL, query="maxResults=x")
    assert [ask(api, signed(bad, KEY, now=NOW))[0] for _ in range(6)] == [400] * 5 + [429]


@pytest.fixture(scope="module")
def strict():
    """A server with the limits of Amazon Connect."""
    with waypost_server("--limits", "aws") as running:
        yield running


def outcomes(call, count, **members):
    """Make `count` calls in sequence; return 200 for each success, and the error code and status for each failure."""
    found = []
    for _ in range(count):
        try:
            found.append(call(**members)["ResponseMetadata"]["HTTPStatusCode"])
        except ClientError as error:
            response = error.response
            found.append((response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]))
    return found


THROTTLED = ("ThrottlingException", 429)


def test_the_banner_names_the_enforced_checks_and_limits(tmp_path):
    shown = banner("--data", tmp_path / "data", "--limits", "aws")
    assert "signatures and policies are enforced" in shown
    assert f"aws   ({rates.AWS.in_words})" in shown


def test_sdks_get_a_throttling_error_for_each_operation(strict, new_client):
    client = new_client(**strict.client_arguments)
    instance_id = client.list_instances()["InstanceSummaryList"][0]["Id"]
    # The model of DescribeInstance does not list this error, but SDKs recognise it for every operation.
    for call, members in (
        (client.describe_instance, {"InstanceId": instance_id}),
        (client.search_email_addresses, {"InstanceId": instance_id}),
        (client.list_tags_for_resource, {"resourceArn": f"arn:aws:connect:us-east-1:{TENANT.account}:instance/i"}),
    ):
        # The calls are concurrent, because calls in sequence may stay below the limit on a slow machine.
        with ThreadPoolExecutor(20) as threads:
            found = [code for (code,) in threads.map(lambda _: outcomes(call, 1, **members), range(20))]  # noqa: B023
        assert 5 <= len(found) - found.count(THROTTLED) < 20
        assert set(found) <= {200, ("ResourceNotFoundException", 404), THROTTLED}
    assert (
        outcomes(new_client(**{**strict.client_arguments, "region_name": "eu-west-1"}).list_instances, 5) == [200] * 5
    )


def test_an_instance_cannot_have_more_email_addresses_than_its_quota(tmp_path, signed):
    body = b'{"EmailAddress":"%s@waypost.example"}'

    async def create(*names):
        store = SqliteStore(tmp_path / "waypost.sqlite3", NoSeal())
        terms = structs.replace(TERMS, email_address_quota=1)
        api = Api(
            store,
            terms=terms,
            throttle=Throttle(rates.AWS, OwnState()),
            failures=FailedSignatures(OwnState()),
            clock=lambda: NOW,
            emit=lambda event: None,
        )
        await store.write(lambda tx: (make_instance(tx), tx.add_access_key(KEY)))
        requests = [Request("PUT", "/email-addresses/i", "", (), body % name) for name in names]
        answers = [await answer(api, signed(request, KEY, now=NOW)) for request in requests]
        await store.close()
        return answers

    first, again, second = asyncio.run(create(b"a", b"a", b"b"))
    assert first[:2] == (200, "")
    # For an address that exists, the error is not the quota.
    assert again[:2] == (409, "DuplicateResourceException")
    assert second[:2] == (402, "ServiceQuotaExceededException")
    assert json.loads(second[2])["Message"].startswith("Instance i has reached its quota of 1 email addresses.")
