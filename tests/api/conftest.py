"""One real server for all tests of the API, clients for it, and requests signed by hand."""

import contextlib
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import boto3
import pytest
from botocore.config import Config
from msgspec.structs import replace

from waypost.api import signing
from waypost.testing import server as waypost_server


@pytest.fixture(scope="session")
def server():
    with waypost_server() as running:
        yield running


@pytest.fixture(scope="session")
def new_client(server):
    """Make a boto3 client that asks once, and sends what it is given, right or wrong."""

    def new_client(**arguments):
        config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
        return boto3.client("connect", **{**server.client_arguments, "config": config, **arguments})

    return new_client


@pytest.fixture(scope="session")
def connect(new_client):
    return new_client()


@pytest.fixture(scope="session")
def new_instance(connect):
    """Make an instance; returns its id."""

    def new_instance(**members):
        settings = {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": False}
        return connect.create_instance(**{**settings, **members})["Id"]

    return new_instance


@pytest.fixture
def instance_id(new_instance):
    return new_instance()


@pytest.fixture(scope="session")
def spelling():
    """Make an address that no other test has."""
    return lambda: f"{uuid.uuid4().hex}@waypost.example"


@pytest.fixture
def new_address(connect, instance_id, spelling):
    """Make an email address in this test's instance, or another; returns its id."""

    def new_address(**members):
        wanted = {"InstanceId": instance_id, "EmailAddress": spelling(), **members}
        return connect.create_email_address(**wanted)["EmailAddressId"]

    return new_address


@pytest.fixture(scope="session")
def refusal():
    """Make a call that must be refused with this modelled exception and HTTP status; returns the message."""

    def refusal(code, status, call, **members):
        with pytest.raises(getattr(call.__self__.exceptions, code)) as caught:
            call(**members)
        response = caught.value.response
        assert response["Error"]["Code"] == code
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status
        return response["Error"]["Message"]

    return refusal


@pytest.fixture(scope="session")
def signed():
    """Sign a `signing.Request` as it is, also where no SDK would send it."""

    def signed(request, key, *, service="connect", region="us-east-1", now=None):
        timestamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        headers = (("host", "waypost.example"), ("x-amz-date", timestamp), *request.headers)
        authorization = signing.Authorization(
            access_key_id=key.id,
            date=timestamp[:8],
            region=region,
            service=service,
            terminator="aws4_request",
            signed_headers=tuple(sorted({name for name, _ in headers})),
            signature="",
        )
        request = replace(request, headers=headers)
        signature = signing.sign(request, authorization, timestamp, key.secret)
        value = (
            f"{signing.ALGORITHM} Credential={key.id}/{authorization.scope}, "
            f"SignedHeaders={';'.join(authorization.signed_headers)}, Signature={signature}"
        )
        return replace(request, headers=(*headers, ("authorization", value)))

    return signed


@dataclass(frozen=True)
class Reply:
    """An HTTP response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="session")
def exchange(server):
    """Send a `signing.Request` to the real server, octet by octet as it is."""

    def exchange(request):
        target = request.raw_path + (f"?{request.query}" if request.query else "")
        length = ("content-length", str(len(request.body)))
        lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers)]
        head = "\r\n".join([*lines, ": ".join(length), "connection: close", "", ""])
        host, _, port = server.run.http.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            # A server that has read enough answers, and closes.
            with contextlib.suppress(ConnectionError):
                connection.sendall(head.encode(*signing.OCTETS) + request.body)
            return _reply(b"".join(iter(lambda: connection.recv(65536), b"")))

    return exchange


def _reply(octets):
    head, _, body = octets.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(status_line.split()[1]), headers, body)
