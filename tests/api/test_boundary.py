"""The error boundary: what goes wrong on our side is told to nobody but our log, and every refusal has a code."""

import asyncio
import json

import pytest

from tests.kit.values import TERMS
from waypost.api import errors
from waypost.api.access.sigv4 import OCTETS, Request
from waypost.api.asgi import Api
from waypost.api.operations import table
from waypost.api.wire import shapes
from waypost.app import ports
from waypost.app.rate_limits import FailedSignatures
from waypost.domain import errors as domain
from waypost.domain.iam.access_keys import AccessKey
from waypost.domain.limits import rates
from waypost.host.clock import now
from waypost.observe import events

KEY = AccessKey("AKIDEXAMPLE", "a-secret-that-nobody-may-see", "000000000000")
MODEL = shapes.load()
SECRET = "secret at /var/lib"

READ = Request("GET", "/instance", "", (), b"")
WRITE = Request("DELETE", "/instance/i", "", (), b"")


class BrokenStore:
    """A store that finds the access key, and raises `cause` whatever else it is asked."""

    def __init__(self, cause):
        self.cause = cause

    async def read(self, use_case, **_):
        return use_case(self)

    write = search = read

    def access_key(self, access_key_id):
        return KEY if access_key_id == KEY.id else None

    def __getattr__(self, name):
        raise self.cause


class SlowStore(BrokenStore):
    """A store that finds the access key, and cannot search in time."""

    async def long_read(self, use_case, **_):
        raise self.cause


class Answer:
    """What an `Api` on a broken store answers to a signed request, and the events that it emits."""

    def __init__(self, cause, request, store=BrokenStore):
        self.events = []
        self._body = [request.body]
        self._sent = []
        api = Api(
            store(cause),
            terms=TERMS,
            limits=rates.RELAXED,
            failures=FailedSignatures(),
            clock=now,
            emit=self.events.append,
        )
        asyncio.run(api(scope_of(request), self._receive, self._send))
        start, body = self._sent
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body = body["body"].decode()

    async def _receive(self):
        return {"type": "http.request", "body": self._body.pop(), "more_body": False}

    async def _send(self, message):
        self._sent.append(message)


def scope_of(request):
    return {
        "type": "http",
        "method": request.method,
        "path": request.raw_path,
        "raw_path": request.raw_path.encode(),
        "query_string": request.query.encode(),
        "headers": [(name.encode(), value.encode(*OCTETS)) for name, value in request.headers],
    }


@pytest.fixture(params=[READ, WRITE], ids=["read", "write"])
def request_(request, signed):
    return signed(request.param, KEY)


@pytest.mark.parametrize("cause", [RuntimeError, KeyError, ValueError, RecursionError, UnicodeError, ExceptionGroup])
def test_a_failure_of_ours_is_told_to_nobody(request_, cause):
    raised = ExceptionGroup(SECRET, [OSError(SECRET)]) if cause is ExceptionGroup else cause(SECRET)
    answer = Answer(raised, request_)
    assert answer.status == 500
    assert answer.headers["x-amzn-errortype"] == "InternalServiceException"
    assert json.loads(answer.body) == {"Message": errors.INTERNAL_MESSAGE}
    shown = f"{answer.headers} {answer.body}"
    assert not any(word in shown for word in ("secret", "/var/lib", cause.__name__, "Traceback", KEY.secret))


def test_a_failure_of_ours_is_found_in_the_log_by_its_request_id(request_):
    cause = RuntimeError(SECRET)
    answer = Answer(cause, request_)
    assert answer.events == [events.Failed(where="api", id=answer.headers["x-amzn-requestid"], cause=cause)]


def test_a_store_that_cannot_answer_is_worth_a_retry(request_):
    cause = ports.StoreUnavailable(SECRET)
    answer = Answer(cause, request_)
    assert answer.status == 503
    assert answer.headers["x-amzn-errortype"] == "ServiceUnavailable"
    assert "secret" not in answer.body
    assert answer.events == [events.StoreFailed(where="api", id=answer.headers["x-amzn-requestid"], cause=cause)]


def test_a_store_that_is_busy_while_the_caller_is_looked_up_is_worth_a_retry(request_):
    class BusyStore(BrokenStore):
        def access_key(self, _):
            raise self.cause

    cause = domain.Busy("Another call is changing the same resource.")
    answer = Answer(cause, request_, BusyStore)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")
    assert answer.events == [events.StoreFailed(where="api", id=answer.headers["x-amzn-requestid"], cause=cause)]


def test_a_look_up_that_takes_too_long_says_so_and_is_worth_a_retry(request_):
    cause = ports.TookTooLong("what DescribeInstance asks for", 5)
    answer = Answer(cause, request_)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")
    said = "Reading what DescribeInstance asks for took more than 5 seconds, so it was given up."
    assert json.loads(answer.body) == {"message": f"{errors.UNAVAILABLE_MESSAGE} {said}"}
    assert answer.events == [events.StoreFailed(where="api", id=answer.headers["x-amzn-requestid"], cause=cause)]


LETTERS = {"StringCondition": {"FieldName": "emailAddress", "Value": "x", "ComparisonType": "CONTAINS"}}
TAG = {"TagCondition": {"TagKey": "team"}}


@pytest.mark.parametrize(
    ("searched", "advice"),
    [
        (
            {"SearchCriteria": {"AndConditions": [LETTERS]}, "SearchFilter": {"TagFilter": TAG}},
            "Search for values of three letters or more, and fewer of them.",
        ),
        ({"SearchFilter": {"TagFilter": TAG}}, "Search for fewer tags, and name the value of at least one."),
        ({}, "Please try again."),
    ],
    ids=["letters", "tags", "everything"],
)
def test_a_search_for_email_addresses_that_takes_too_long_says_what_to_search_for(signed, searched, advice):
    body = json.dumps({"InstanceId": "8b38cc1c-0e3b-4f0f-8ae1-2d4f7a1c6d11", **searched}).encode()
    headers = (("content-type", "application/json"),)
    request = signed(Request("POST", "/search-email-addresses", "", headers, body), KEY)
    answer = Answer(ports.TookTooLong("what DescribeInstance asks for", 5), request, SlowStore)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "InvalidParameterException")
    assert json.loads(answer.body)["Message"] == (f"The search took more than 5 seconds, so it was given up. {advice}")
    assert answer.events == []


def test_a_refusal_is_no_failure(request_):
    answer = Answer(domain.NotFound("Instance i was not found."), request_)
    assert answer.events == []
    assert json.loads(answer.body) == {"Message": "Instance i was not found."}


def test_what_is_refused_before_the_store_is_no_failure(request_):
    other = Request(request_.method, "/nothing", "", request_.headers, b"")
    answer = Answer(RuntimeError(SECRET), other)
    assert (answer.status, answer.events) == (403, [])


def test_every_answer_has_an_id_of_its_own(request_):
    ids = {Answer(RuntimeError(SECRET), request_).headers["x-amzn-requestid"] for _ in range(3)}
    assert len(ids) == 3


def test_the_length_is_told(request_):
    answer = Answer(RuntimeError(SECRET), request_)
    assert answer.headers["content-length"] == str(len(answer.body))


# What the use cases of each operation say that they raise.
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
def test_what_an_operation_raises_is_answered_with_a_code_that_its_model_permits(operation, raised):
    permitted = MODEL.operations[operation].errors
    error = errors.translate(raised("A sentence."), permitted)
    assert error.code == OTHERWISE.get((operation, raised), CODES[raised])
    assert (error.status, error.message) == (permitted[error.code], "A sentence.")


@pytest.mark.parametrize("operation", table.OPERATIONS)
def test_who_waited_too_long_for_another_call_may_try_again(operation):
    permitted = MODEL.operations[operation].errors
    error = errors.translate(domain.Busy("A sentence."), permitted)
    told = (
        ("ResourceConflictException", 409) if "ResourceConflictException" in permitted else ("ServiceUnavailable", 503)
    )
    assert (error.code, error.status, error.message) == (*told, "A sentence.")


@pytest.mark.parametrize("operation", table.OPERATIONS)
def test_every_operation_may_fail(operation):
    permitted = MODEL.operations[operation].errors
    assert permitted[errors.internal().code] == errors.internal().status


@pytest.mark.parametrize("raised", [domain.UnknownRecipient, domain.RecipientsChanged, domain.MailLoop])
def test_a_refusal_of_mail_is_none_of_the_api(raised):
    assert raised not in errors._CODES


def test_who_leaves_before_the_request_is_there_is_answered_nothing_and_fails_nothing():
    told, sent = [], []

    async def receive():
        return {"type": "http.disconnect"}

    api = Api(
        BrokenStore(None),
        terms=TERMS,
        limits=rates.RELAXED,
        failures=FailedSignatures(),
        clock=now,
        emit=told.append,
    )
    asyncio.run(api(scope_of(READ), receive, sent.append))
    assert (told, sent) == ([], [])
