"""Tests for security holes that users found in AWS emulators, named by their symptoms. Waypost has none of them.

floci #1841: a presigned URL that was tampered with is accepted.
floci #2332: a forged signature in a header is accepted.
floci #2680: an unknown access key id is accepted as its own secret.
floci #1934: inactive and expired access keys are accepted.
floci #3195: a presigned URL is accepted even if the policy of its key denies the call.
"""

import json
import urllib.parse
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from waypost.api.wire.http import Request
from waypost.app.directory import access_keys
from waypost.domain.iam.access_keys import AccessKey
from waypost.host import sealing

LIST = Request("GET", "/instance", "", (), b"")


def code_of(reply):
    """Return the error code of a refusal, and check that its body has only a message."""
    assert reply.status == 403
    assert json.loads(reply.body).keys() in ({"message"}, {"Message"})
    return reply.headers["x-amzn-errortype"]


def refused(call, **members):
    with pytest.raises(ClientError) as caught:
        call(**members)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return caught.value.response["Error"]["Code"]


def presigned(client, operation, *, expires=60, **members):
    """Generate a presigned URL, and return it as a request."""
    url = urllib.parse.urlsplit(client.generate_presigned_url(operation, Params=members, ExpiresIn=expires))
    method = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation]).http["method"]
    return Request(method, url.path, url.query, (("host", url.netloc),), b"")


@pytest.fixture(scope="module")
def key(server):
    return server.profile.key


TAMPERING = {
    "another resource": lambda request, other: replace(request, raw_path=f"/instance/{other}"),
    "another operation": lambda request, _: replace(request, raw_path="/instance"),
    "another method": lambda request, _: replace(request, method="DELETE"),
    "another parameter": lambda request, _: replace(request, query=f"{request.query}&clientToken=x"),
    "a longer lifetime": lambda request, _: replace(request, query=request.query.replace("Expires=60", "Expires=6000")),
    "a later date": lambda request, _: replace(request, query=request.query.replace("Date=2", "Date=3")),
    "another region": lambda request, _: replace(request, query=request.query.replace("us-east-1", "us-east-2")),
    "another host": lambda request, _: replace(request, headers=(("host", "elsewhere.example"),)),
    "a body": lambda request, _: replace(request, body=b"{}"),
    "no signature": lambda request, _: replace(request, query=request.query.partition("&X-Amz-Signature")[0]),
    "half a signature": lambda request, _: replace(request, query=request.query[:-32]),
    "an empty signature": lambda request, _: replace(request, query=request.query[:-64]),
    "a signature of zeros": lambda request, _: replace(request, query=request.query[:-64] + "0" * 64),
}


def test_an_unchanged_presigned_url_is_accepted(connect, exchange, instance_id):
    reply = exchange(presigned(connect, "describe_instance", InstanceId=instance_id))
    assert (reply.status, json.loads(reply.body)["Instance"]["Id"]) == (200, instance_id)


@pytest.mark.parametrize("tamper", TAMPERING.values(), ids=TAMPERING)
def test_a_presigned_url_that_was_tampered_with_is_refused(connect, exchange, instance_id, new_instance, tamper):
    request = presigned(connect, "describe_instance", InstanceId=instance_id)
    assert code_of(exchange(tamper(request, new_instance()))) in {
        "InvalidSignatureException",
        "IncompleteSignatureException",
        "MissingAuthenticationTokenException",
    }
    assert connect.describe_instance(InstanceId=instance_id)


FORGERIES = {
    "zeros": lambda signature: "0" * 64,
    "upper case": str.upper,
    "reversed": lambda signature: signature[::-1],
    "shorter": lambda signature: signature[:32],
    "longer": lambda signature: signature + "0",
    "words": lambda signature: "signature",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_signature_is_refused(exchange, signed, key, forge):
    request = signed(LIST, key)
    assert exchange(request).status == 200
    *headers, (name, value) = request.headers
    before, mark, signature = value.partition("Signature=")
    forged = replace(request, headers=(*headers, (name, before + mark + forge(signature))))
    assert code_of(exchange(forged)) == "InvalidSignatureException"


def test_the_signature_of_one_request_is_not_valid_for_another_request(exchange, signed, key, instance_id):
    authorization = signed(LIST, key).headers
    assert code_of(exchange(replace(LIST, raw_path=f"/instance/{instance_id}", headers=authorization))) == (
        "InvalidSignatureException"
    )


SPELLINGS = [
    pytest.param(lambda name, value: (name.title(), value), id="names in another case"),
    pytest.param(lambda name, value: (name, f" \t{value}"), id="leading white space"),
    pytest.param(lambda name, value: (name, f"{value} \t"), id="trailing white space"),
]


@pytest.mark.parametrize("spell", SPELLINGS)
def test_the_signature_is_valid_for_headers_in_another_spelling(exchange, signed, key, spell):
    request = signed(LIST, key)
    assert exchange(replace(request, headers=tuple(spell(*header) for header in request.headers))).status == 200


@pytest.mark.parametrize("secret", ["AKIAIOSFODNN7EXAMPLE", "", "test", "secret"])
def test_an_unknown_key_is_refused_with_any_secret(exchange, signed, new_client, secret):
    unknown = AccessKey("AKIAIOSFODNN7EXAMPLE", secret, "000000000000")
    assert code_of(exchange(signed(LIST, unknown))) == "UnrecognizedClientException"
    client = new_client(aws_access_key_id=unknown.id, aws_secret_access_key=secret or "x")
    assert code_of(exchange(presigned(client, "list_instances"))) == "UnrecognizedClientException"


def test_the_id_of_a_known_key_is_not_accepted_as_its_secret(exchange, signed, key):
    for secret in (key.id, "", key.secret.swapcase()):
        forged = AccessKey(key.id, secret, key.account)
        assert code_of(exchange(signed(LIST, forged))) == "InvalidSignatureException"


@pytest.mark.parametrize("form", ["header", "presigned"])
def test_a_key_id_that_is_not_valid_text_is_refused_as_unknown(exchange, signed, connect, key, form):
    if form == "header":
        *headers, (name, value) = signed(LIST, key).headers
        request = replace(LIST, headers=(*headers, (name, value.replace(key.id, "\udcff"))))
    else:
        request = presigned(connect, "list_instances")
        request = replace(request, query=request.query.replace(key.id, "%FF"))
    assert code_of(exchange(request)) == "UnrecognizedClientException"


def test_an_inactive_key_is_refused_immediately(administer, exchange, new_client, new_key):
    client = new_client(**(key := new_key()))
    request = presigned(client, "list_instances")
    assert client.list_instances()
    for active, status in ((False, 403), (True, 200), (False, 403)):
        administer(partial(access_keys.set_active, access_key_id=key["aws_access_key_id"], active=active))
        assert exchange(request).status == status
    assert code_of(exchange(request)) == refused(client.list_instances) == "UnrecognizedClientException"


def test_a_deleted_key_is_refused_immediately(administer, new_client, new_key):
    client = new_client(**(key := new_key()))
    assert client.list_instances()
    administer(partial(access_keys.delete, access_key_id=key["aws_access_key_id"]))
    assert refused(client.list_instances) == "UnrecognizedClientException"


@pytest.mark.parametrize(("age", "code"), [(59, None), (61, "ExpiredTokenException")])
def test_an_expired_key_is_refused(administer, exchange, new_client, age, code):
    made_at = datetime.now(UTC) - timedelta(minutes=age)
    hour = timedelta(hours=1)
    key, token = sealing.new_access_key(account="000000000000", user_name="ann", now=made_at, lifetime=hour)
    administer(partial(access_keys.create, key=key))
    client = new_client(aws_access_key_id=key.id, aws_secret_access_key=key.secret, aws_session_token=token)
    if code is None:
        assert exchange(presigned(client, "list_instances")).status == 200
        assert client.list_instances()
    else:
        assert code_of(exchange(presigned(client, "list_instances"))) == refused(client.list_instances) == code


def test_a_presigned_url_is_limited_by_the_policy_of_its_key(exchange, new_client, new_key, instance_id):
    allowed = {"Effect": "Allow", "Action": "connect:DescribeInstance", "Resource": "*"}
    limited = new_client(**new_key(allowed))
    assert exchange(presigned(limited, "describe_instance", InstanceId=instance_id)).status == 200
    for operation, members in (("list_instances", {}), ("delete_instance", {"InstanceId": instance_id})):
        assert code_of(exchange(presigned(limited, operation, **members))) == "AccessDeniedException"
    assert exchange(presigned(limited, "describe_instance", InstanceId=instance_id)).status == 200
