"""Tests of the error boundary: internal errors appear only in the log, and every refusal has an error code."""

import asyncio
import json
import uuid

import msgspec
import pytest

from tests.kit.values import TERMS
from waypost.api import errors
from waypost.api.access.sigv4 import Request
from waypost.api.access.throttle import Throttle
from waypost.api.application import Api
from waypost.api.operations import table
from waypost.api.wire import shapes
from waypost.app import ports
from waypost.app.limit_state import OwnState
from waypost.app.rate_limits import FailedSignatures
from waypost.domain import errors as domain
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.limits import rates
from waypost.host.clock import now
from waypost.observe import events
from waypost.observe.spans.spans import Spans

KEY = AccessKey("AKIDEXAMPLE", "a-secret-that-must-not-be-shown", "000000000000")
MODEL = shapes.load()
SECRET = "secret at /var/lib"

READ = Request("GET", "/instance", "", (), b"")
WRITE = Request("DELETE", "/instance/i", "", (), b"")


class BrokenStore:
    """A store that finds the access key, and raises `cause` for every other call."""

    def __init__(self, cause):
        self.cause = cause

    async def read(self, use_case, **_):
        return use_case(self)

    write = search = read

    def directory_version(self):
        return None

    version_of_keys = directory_version

    def access_key(self, access_key_id):
        return KEY if access_key_id == KEY.id else None

    def __getattr__(self, name):
        raise self.cause


class SlowStore(BrokenStore):
    """A store that finds the access key, and raises `cause` for every long read."""

    async def long_read(self, use_case, **_):
        raise self.cause


class Answer:
    """The response of an `Api` with a broken store to a signed request, and the events that the `Api` emits."""

    def __init__(self, cause, request, store=BrokenStore, spans=None):
        self.events = []
        self.request_id = str(uuid.uuid4())
        api = Api(
            store(cause),
            terms=TERMS,
            throttle=Throttle(rates.RELAXED, OwnState()),
            failures=FailedSignatures(OwnState()),
            clock=now,
            emit=self.events.append,
            spans=spans,
        )
        response = asyncio.run(api.answer(request, peer="192.0.2.1", request_id=self.request_id))
        self.status, self.error_type = response.status, response.error_type
        self.body = response.body.decode()


@pytest.fixture(params=[READ, WRITE], ids=["read", "write"])
def request_(request, signed):
    return signed(request.param, KEY)


@pytest.mark.parametrize("cause", [RuntimeError, KeyError, ValueError, RecursionError, UnicodeError, ExceptionGroup])
def test_the_response_to_an_internal_error_does_not_show_the_cause(request_, cause):
    raised = ExceptionGroup(SECRET, [OSError(SECRET)]) if cause is ExceptionGroup else cause(SECRET)
    answer = Answer(raised, request_)
    assert answer.status == 500
    assert answer.error_type == "InternalServiceException"
    assert json.loads(answer.body) == {"Message": errors.INTERNAL_MESSAGE}
    shown = f"{answer.error_type} {answer.body}"
    assert not any(word in shown for word in ("secret", "/var/lib", cause.__name__, "Traceback", KEY.secret))


def test_an_internal_error_is_logged_with_the_request_id(request_):
    cause = RuntimeError(SECRET)
    answer = Answer(cause, request_)
    assert answer.events == [events.Failed(where="api", id=answer.request_id, cause=cause)]


def test_a_call_can_be_retried_if_the_store_is_unavailable(request_):
    cause = ports.StoreUnavailable(SECRET)
    answer = Answer(cause, request_)
    assert answer.status == 503
    assert answer.error_type == "ServiceUnavailable"
    assert "secret" not in answer.body
    assert answer.events == [events.StoreFailed(where="api", id=answer.request_id, cause=cause)]


class KeylessStore(BrokenStore):
    """A store that raises `cause` for each look-up of an access key."""

    def access_key(self, _):
        raise self.cause


@pytest.mark.parametrize(("store", "is_authenticated"), [(BrokenStore, True), (KeylessStore, False)])
def test_while_the_store_fails_only_an_authenticated_caller_decides_whether_its_call_is_recorded(
    signed, store, is_authenticated
):
    made = []
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    request = signed(msgspec.structs.replace(READ, headers=(("traceparent", parent),)), KEY)
    spans = Spans(made.append, ratio=1e-9, clock=now)
    answer = Answer(ports.StoreUnavailable(SECRET), request, store, spans=spans)
    assert answer.status == 503
    assert [span.context.trace_id for span in made] == [parent[3:35]] * is_authenticated


def test_a_call_can_be_retried_if_the_store_is_busy_during_authentication(request_):
    cause = domain.Busy("Another call is changing the same resource.")
    answer = Answer(cause, request_, KeylessStore)
    assert (answer.status, answer.error_type) == (503, "ServiceUnavailable")
    assert answer.events == [events.StoreFailed(where="api", id=answer.request_id, cause=cause)]


def test_a_call_can_be_retried_if_a_read_took_too_long_and_the_response_says_so(request_):
    cause = ports.TookTooLong("the data for DescribeInstance", 5)
    answer = Answer(cause, request_)
    assert (answer.status, answer.error_type) == (503, "ServiceUnavailable")
    said = "The store stopped reading the data for DescribeInstance, because the read took more than 5 seconds."
    assert json.loads(answer.body) == {"message": f"{errors.UNAVAILABLE_MESSAGE} {said}"}
    assert answer.events == [events.StoreFailed(where="api", id=answer.request_id, cause=cause)]


LETTERS = {"StringCondition": {"FieldName": "emailAddress", "Value": "x", "ComparisonType": "CONTAINS"}}
TAG = {"TagCondition": {"TagKey": "team"}}


@pytest.mark.parametrize(
    ("searched", "advice"),
    [
        (
            {"SearchCriteria": {"AndConditions": [LETTERS]}, "SearchFilter": {"TagFilter": TAG}},
            "Search for fewer values, each with at least three letters.",
        ),
        ({"SearchFilter": {"TagFilter": TAG}}, "Search for fewer tags, and give the value of at least one tag."),
        ({}, "Please try again."),
    ],
    ids=["letters", "tags", "everything"],
)
def test_the_response_to_a_search_that_takes_too_long_has_advice_for_a_faster_search(signed, searched, advice):
    body = json.dumps({"InstanceId": "8b38cc1c-0e3b-4f0f-8ae1-2d4f7a1c6d11", **searched}).encode()
    headers = (("content-type", "application/json"),)
    request = signed(Request("POST", "/search-email-addresses", "", headers, body), KEY)
    answer = Answer(ports.TookTooLong("the data for DescribeInstance", 5), request, SlowStore)
    assert (answer.status, answer.error_type) == (400, "InvalidParameterException")
    message = f"The search took more than 5 seconds, so the server stopped it. {advice}"
    assert json.loads(answer.body)["Message"] == message
    assert answer.events == []


def test_a_refusal_is_not_logged_as_a_failure(request_):
    answer = Answer(domain.NotFound("Instance i was not found."), request_)
    assert answer.events == []
    assert json.loads(answer.body) == {"Message": "Instance i was not found."}


def test_a_refusal_before_the_store_is_used_is_not_logged_as_a_failure(request_):
    other = Request(request_.method, "/nothing", "", request_.headers, b"")
    answer = Answer(RuntimeError(SECRET), other)
    assert (answer.status, answer.events) == (403, [])


# The errors that each operation's use case documents.
RAISED = {
    "AssociateEmailAddressAlias": [domain.NotFound, domain.Invalid, domain.Conflict, domain.TokenReused],
    "CreateEmailAddress": [
        domain.Invalid,
        domain.NotFound,
        domain.Duplicate,
        domain.QuotaExceeded,
        domain.TokenReused,
    ],
    "CreateInstance": [domain.Invalid, domain.Duplicate, domain.TokenReused],
    "DeleteEmailAddress": [domain.Invalid, domain.NotFound],
    "DeleteInstance": [domain.Invalid, domain.NotFound, domain.TokenReused],
    "DescribeEmailAddress": [domain.Invalid, domain.NotFound],
    "DescribeInstance": [domain.Invalid, domain.NotFound],
    "DisassociateEmailAddressAlias": [domain.Invalid, domain.NotFound, domain.TokenReused],
    "ListInstances": [domain.Invalid],
    "ListTagsForResource": [domain.Invalid, domain.NotFound],
    "SearchEmailAddresses": [domain.Invalid, domain.NotFound],
    "TagResource": [domain.Invalid, domain.NotFound],
    "UntagResource": [domain.Invalid, domain.NotFound],
    "UpdateEmailAddressMetadata": [domain.Invalid, domain.NotFound, domain.TokenReused],
}

CODES = {
    domain.Invalid: "InvalidParameterException",
    domain.NotFound: "ResourceNotFoundException",
    domain.Conflict: "ResourceConflictException",
    domain.Duplicate: "DuplicateResourceException",
    domain.QuotaExceeded: "ServiceQuotaExceededException",
    domain.TokenReused: "IdempotencyException",
}
OTHERWISE = {
    ("CreateInstance", domain.Invalid): "InvalidRequestException",
    ("DeleteInstance", domain.Invalid): "InvalidRequestException",
    ("DescribeInstance", domain.Invalid): "InvalidRequestException",
    ("CreateInstance", domain.Duplicate): "InvalidRequestException",
    ("CreateInstance", domain.TokenReused): "InvalidRequestException",
    ("DeleteInstance", domain.TokenReused): "InvalidRequestException",
    ("DisassociateEmailAddressAlias", domain.TokenReused): "ResourceConflictException",
    ("ListInstances", domain.Invalid): "InvalidRequestException",
}


def test_every_operation_is_in_the_table():
    assert RAISED.keys() == table.OPERATIONS.keys() == MODEL.operations.keys()


@pytest.mark.parametrize(
    ("operation", "raised"), [(operation, raised) for operation, all_ in RAISED.items() for raised in all_]
)
def test_the_response_to_a_domain_error_has_a_code_that_the_model_permits(operation, raised):
    permitted = MODEL.operations[operation].errors
    error = errors.translate(raised("A sentence."), permitted)
    assert error.code == OTHERWISE.get((operation, raised), CODES[raised])
    assert (error.status, error.message) == (permitted[error.code], "A sentence.")


@pytest.mark.parametrize("operation", table.OPERATIONS)
def test_a_call_that_waited_too_long_for_another_call_can_be_retried(operation):
    permitted = MODEL.operations[operation].errors
    error = errors.translate(domain.Busy("A sentence."), permitted)
    expected = (
        ("ResourceConflictException", 409) if "ResourceConflictException" in permitted else ("ServiceUnavailable", 503)
    )
    assert (error.code, error.status, error.message) == (*expected, "A sentence.")


@pytest.mark.parametrize("operation", table.OPERATIONS)
def test_every_operation_may_return_the_internal_error(operation):
    permitted = MODEL.operations[operation].errors
    assert permitted[errors.internal().code] == errors.internal().status


@pytest.mark.parametrize("raised", [domain.UnknownRecipient, domain.RecipientsChanged, domain.MailLoop])
def test_the_api_has_no_code_for_refusals_of_mail(raised):
    assert raised not in errors._CODES
