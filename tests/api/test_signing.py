"""Signature Version 4: the test suite of AWS (aws4_testsuite), what is refused, and botocore as the signer."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from waypost.api import signing
from waypost.api.errors import ApiError
from waypost.domain.access_keys import AccessKey
from waypost.domain.instances import Tenant

SUITE = Path(__file__).with_name("aws4_testsuite")
CASES = {file.parent.name: file for file in sorted(SUITE.rglob("*.sreq"))}
KEY = AccessKey("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "123456789012")
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)

WITH_SESSION_TOKEN = {
    # Their signatures are right, but Waypost hands out no session tokens, so such credentials cannot be ours.
    "get-vanilla-with-session-token": "UnrecognizedClientException",
    "post-sts-header-before": "UnrecognizedClientException",
    # Here the token was added after signing, and an x-amz- header that is not signed is refused.
    "post-sts-header-after": "InvalidSignatureException",
}
ACCEPTED = sorted(CASES.keys() - WITH_SESSION_TOKEN.keys())


def with_header(request, name, change):
    """The request with one header's value changed, or taken out where `change` gives None."""
    headers = [(key, change(value) if key == name else value) for key, value in request.headers]
    return replace(request, headers=tuple((key, value) for key, value in headers if value is not None))


def request_of(case):
    """The signed request of a case, with folded header lines unfolded, as an HTTP parser gives it."""
    head, _, body = CASES[case].read_text(encoding="utf-8").partition("\n\n")
    request_line, *lines = head.replace("\n ", "  ").split("\n")
    method, _, target = request_line.removesuffix(" HTTP/1.1").partition(" ")
    path, _, query = target.partition("?")
    headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    request = signing.Request(method, path, query, headers, body.encode())
    # The signed request of get-vanilla-with-session-token has the signature of get-vanilla; its .authz is right.
    return with_header(request, "authorization", lambda _: CASES[case].with_suffix(".authz").read_text())


def authenticate(request, *, keys=(KEY,), service="service", now=NOW):
    return signing.authenticate(request, access_keys={key.id: key for key in keys}.get, service=service, now=now)


def refusal(request, **arguments):
    with pytest.raises(ApiError) as caught:
        authenticate(request, **arguments)
    assert caught.value.status == 403
    shown = f"{caught.value!r} {caught.value} {caught.value.message} {caught.value.__cause__!r}"
    assert KEY.secret not in shown
    return caught.value


VANILLA = request_of("get-vanilla")
AUTHORIZATION = VANILLA.header("authorization")


def test_the_suite_is_complete():
    assert len(CASES) == 34


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_request_of_the_suite_is_accepted(case):
    assert authenticate(request_of(case)) == Tenant(KEY.account, "us-east-1")


@pytest.mark.parametrize(("case", "code"), WITH_SESSION_TOKEN.items(), ids=WITH_SESSION_TOKEN)
def test_a_session_token_is_none_of_ours(case, code):
    assert refusal(request_of(case)).code == code


@pytest.mark.parametrize("case", CASES)
def test_the_signature_is_the_one_that_aws_computes(case):
    request = request_of(case)
    authorization = signing.parse_authorization(request.header("authorization"))
    canonical = signing.canonical_request(request, authorization.signed_headers)
    assert canonical == CASES[case].with_suffix(".creq").read_bytes()
    assert signing.sign(request, authorization, "20150830T123600Z", KEY.secret) == authorization.signature


TAMPERING = {
    "signature": lambda r: with_header(r, "authorization", lambda v: v[:-1] + ("0" if v[-1] != "0" else "1")),
    "body": lambda r: replace(r, body=r.body + b"x"),
    "path": lambda r: replace(r, raw_path=r.raw_path + "x"),
    "query": lambda r: replace(r, query=f"{r.query}&x=y".lstrip("&")),
    "method": lambda r: replace(r, method="PUT"),
    "signed-header": lambda r: with_header(r, "host", lambda _: "example.com"),
    "region": lambda r: with_header(r, "authorization", lambda v: v.replace("us-east-1", "us-east-2")),
    "shorter-signature": lambda r: with_header(r, "authorization", lambda v: v[:-1]),
    "signature-beyond-ascii": lambda r: with_header(r, "authorization", lambda v: v[:-1] + "\udcff"),
}


@pytest.mark.parametrize("tamper", TAMPERING.values(), ids=TAMPERING)
@pytest.mark.parametrize("case", ACCEPTED)
def test_a_request_that_was_changed_is_refused(case, tamper):
    error = refusal(tamper(request_of(case)))
    assert error.code == "InvalidSignatureException"
    assert "does not match the signature you provided" in error.message


def test_an_unknown_key_is_refused():
    error = refusal(VANILLA, keys=())
    assert error.code == "UnrecognizedClientException"
    assert error.message == "The security token included in the request is invalid."


def test_another_secret_is_refused():
    assert refusal(VANILLA, keys=[AccessKey(KEY.id, "another", KEY.account)]).code == "InvalidSignatureException"


@pytest.mark.parametrize("value", [None, ""], ids=["absent", "empty"])
def test_a_request_without_a_signature_is_refused(value):
    error = refusal(with_header(VANILLA, "authorization", lambda _: value))
    assert error.code == "MissingAuthenticationTokenException"
    assert error.message == "Missing Authentication Token"


MALFORMED = {
    "no-parameters": "AWS4-HMAC-SHA256",
    "other-algorithm": AUTHORIZATION.replace("HMAC-SHA256", "ECDSA-P256-SHA256"),
    "basic": "Basic QUtJRDpzZWNyZXQ=",
    "bearer": "Bearer eyJ",
    "no-credential": AUTHORIZATION.replace("Credential=", "Nothing="),
    "no-signed-headers": AUTHORIZATION.replace("SignedHeaders=", "Nothing="),
    "no-signature": AUTHORIZATION.replace("Signature=", "Nothing="),
    "short-scope": AUTHORIZATION.replace("/20150830/us-east-1/service", "/service"),
    "no-scope": AUTHORIZATION.replace("/20150830/us-east-1/service/aws4_request", ""),
}


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_authorization_is_refused(value):
    assert refusal(with_header(VANILLA, "authorization", lambda _: value)).code == "IncompleteSignatureException"


def test_everything_that_an_authorization_lacks_is_named():
    message = refusal(with_header(VANILLA, "authorization", lambda _: "AWS4-HMAC-SHA256 x")).message
    assert all(f"'{name}'" in message for name in ("Credential", "SignedHeaders", "Signature"))


@pytest.mark.parametrize("value", [None, "now", "2015-08-30T12:36:00Z", "20150830T123600", "20150830T993600Z"])
def test_a_request_without_a_proper_date_is_refused(value):
    request = with_header(VANILLA, "x-amz-date", lambda _: value)
    signed_headers = "SignedHeaders=host;x-amz-date"
    request = with_header(
        request, "authorization", lambda v: v.replace(signed_headers, "SignedHeaders=host;x-amz-date")
    )
    assert refusal(request).code == "IncompleteSignatureException"


@pytest.mark.parametrize("sign", [1, -1], ids=["later", "earlier"])
def test_a_clock_may_be_off_by_fifteen_minutes_exactly(sign):
    limit = timedelta(minutes=15) * sign
    assert authenticate(VANILLA, now=NOW + limit)
    error = refusal(VANILLA, now=NOW + limit + timedelta(milliseconds=1) * sign)
    assert error.code == "InvalidSignatureException"
    assert error.message.startswith("Signature expired" if sign > 0 else "Signature not yet current")


@pytest.mark.parametrize("name", ["host", "x-amz-date"])
def test_what_matters_must_be_signed(name):
    rest = {"host": "x-amz-date", "x-amz-date": "host"}[name]
    error = refusal(with_header(VANILLA, "authorization", lambda v: v.replace("host;x-amz-date", rest)))
    assert error.code == "InvalidSignatureException"
    assert f"'{name}'" in error.message


def test_a_header_of_aws_that_is_not_signed_is_refused():
    request = replace(VANILLA, headers=(*VANILLA.headers, ("x-amz-target", "AmazonConnectService.DeleteInstance")))
    assert refusal(request).code == "InvalidSignatureException"


WRONG_SCOPES = {
    "service": ("/service/", "/s3/"),
    "date": ("/20150830/", "/20150829/"),
    "terminator": ("/aws4_request", "/aws3_request"),
    "region": ("/us-east-1/", "/US_EAST/"),
}


@pytest.mark.parametrize(("old", "new"), WRONG_SCOPES.values(), ids=WRONG_SCOPES)
def test_a_wrong_scope_is_refused(old, new):
    error = refusal(with_header(VANILLA, "authorization", lambda v: v.replace(old, new)))
    assert error.code == "InvalidSignatureException"
    assert "does not match the signature" not in error.message


def test_a_right_signature_for_another_service_is_refused(signed):
    request = signing.Request("GET", "/", "", (), b"")
    assert authenticate(signed(request, KEY, service="service", now=NOW))
    assert refusal(signed(request, KEY, service="s3", now=NOW)).code == "InvalidSignatureException"


def test_the_tenant_is_the_key_s_account_in_the_signed_region(signed):
    request = signed(signing.Request("GET", "/", "", (), b""), KEY, service="service", region="eu-west-1", now=NOW)
    assert authenticate(request) == Tenant("123456789012", "eu-west-1")


def test_no_repr_shows_a_secret():
    authorization = signing.parse_authorization(AUTHORIZATION)
    assert KEY.secret not in f"{KEY!r} {KEY} {authorization!r} {VANILLA!r} {signing._signing_key!r}"


SEGMENT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/?#%"), max_size=8)
PATH = st.lists(SEGMENT | st.sampled_from([".", "..", "", "a%2Fb", "%C3%BC"]), max_size=5).map(
    lambda s: "/" + "/".join(s)
)
NAME = st.text("abcXYZ019-_.~%/:=+ ü", max_size=6)


@settings(max_examples=150, deadline=None, database=None)
@given(
    path=PATH,
    query=st.lists(st.tuples(NAME, NAME), max_size=4),
    header=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    body=st.binary(max_size=20),
)
def test_what_botocore_signs_is_accepted(path, query, header, body):
    encoded = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    url = f"http://connect.example:8025{path}" + (f"?{encoded}" if encoded else "")
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": header, "User-Agent": "test"})
    SigV4Auth(Credentials(KEY.id, KEY.secret), "service", "us-east-1").add_auth(request)
    headers = (("host", "connect.example:8025"), *((name.lower(), value) for name, value in request.headers.items()))
    assert authenticate(signing.Request("POST", path, encoded, headers, body), now=datetime.now(UTC))
