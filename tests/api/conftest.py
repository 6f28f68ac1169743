"""Fixtures for the API tests: one real server, clients for it, and requests that the tests sign themselves."""

import contextlib
import ipaddress
import itertools
import json
import socket
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import boto3
import pytest
from botocore.config import Config
from click.testing import CliRunner
from msgspec.structs import replace

from tests.kit.patience import PATIENCE
from tests.kit.stores import direct_writes
from waypost.api.access import canonical, sigv4
from waypost.cli import program
from waypost.testing import server as waypost_server


@pytest.fixture(scope="session")
def server():
    # Several accounts may have addresses in this domain. Every other domain belongs to a single account.
    with waypost_server("--shared-domains", "waypost.example") as running:
        yield running


@pytest.fixture(scope="session")
def new_client(server):
    """Build a boto3 client that does not retry, and that sends members without validating them."""

    def new_client(**arguments):
        config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
        return boto3.client("connect", **{**server.client_arguments, "config": config, **arguments})

    return new_client


@pytest.fixture(scope="session")
def connect(new_client):
    return new_client()


@pytest.fixture(scope="session")
def administer(server):
    """Run a use case directly on a store, as `waypost keys` does. The default is the server's store."""

    return lambda use_case, data=server.data: direct_writes.write(data, use_case)


@pytest.fixture(scope="session")
def new_key(server, tmp_path_factory):
    """Create an access key with `waypost keys create`; its policy has these statements, or allows everything.

    Returns the arguments for a boto3 client that uses the key.
    """
    policies, numbers = tmp_path_factory.mktemp("policies"), itertools.count()

    def new_key(*statements, **options):
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        if statements:
            file = policies / f"{next(numbers)}.json"
            file.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
            arguments += ["--policy", str(file)]
        with direct_writes.umask_kept():
            made = CliRunner().invoke(program.app, ["keys", "create", "--json", "--data", str(server.data), *arguments])
        assert made.exit_code == 0, made.exception
        key = json.loads(made.stdout)
        return {
            "aws_access_key_id": key["AccessKeyId"],
            "aws_secret_access_key": key["SecretAccessKey"],
            "aws_session_token": key.get("SessionToken"),
        }

    return new_key


@pytest.fixture(scope="session")
def new_instance(connect):
    """Create an instance; return its id."""

    def new_instance(**members):
        settings = {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": False}
        return connect.create_instance(**{**settings, **members})["Id"]

    return new_instance


@pytest.fixture
def instance_id(new_instance):
    return new_instance()


@pytest.fixture(scope="session")
def spelling():
    """Return a new address that no other test uses."""
    return lambda: f"{uuid.uuid4().hex}@waypost.example"


@pytest.fixture
def new_address(connect, instance_id, spelling):
    """Create an email address, by default in the instance of this test; return its id."""

    def new_address(**members):
        wanted = {"InstanceId": instance_id, "EmailAddress": spelling(), **members}
        return connect.create_email_address(**wanted)["EmailAddressId"]

    return new_address


@pytest.fixture(scope="session")
def refusal():
    """Make a call, check that it fails with this modelled exception and HTTP status, and return the message."""

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
    """Sign a `Request` without changing it, even if no SDK would send such a request."""

    def signed(request, key, *, service="connect", region="us-east-1", now=None):
        timestamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        headers = (("host", "waypost.example"), ("x-amz-date", timestamp), *request.headers)
        scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
        names = tuple(sorted({name for name, _ in headers}))
        request = replace(request, headers=headers)
        signature = canonical.signature(
            request, secret=key.secret, timestamp=timestamp, scope=scope, signed_headers=names
        )
        value = (
            f"{canonical.ALGORITHM} Credential={key.id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return replace(request, headers=(*headers, ("authorization", value)))

    return signed


@dataclass(frozen=True)
class Reply:
    """An HTTP response as received."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="session")
def source():
    """Return a loopback address that no test has used, because the server delays responses after failed signatures.

    If the loopback interface has only one address, the tests share it, and responses are slower.
    """
    numbers = itertools.count(256)
    loopback = ipaddress.ip_address("127.1.0.0")
    return lambda: (str(loopback + next(numbers)) if sys.platform == "linux" else "", 0)


@pytest.fixture(scope="session")
def exchange(server, source):
    """Send a `Request` to the real server without changing a byte."""

    def exchange(request):
        target = request.raw_path + (f"?{request.query}" if request.query else "")
        length = ("content-length", str(len(request.body)))
        lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers)]
        head = "\r\n".join([*lines, ": ".join(length), "connection: close", "", ""])
        host, _, port = server.run.http.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE, source_address=source()) as connection:
            # The server may respond and close the connection before it has read the whole request.
            with contextlib.suppress(ConnectionError):
                connection.sendall(head.encode(*sigv4.OCTETS) + request.body)
            return _reply(b"".join(iter(lambda: connection.recv(65536), b"")))

    return exchange


def _reply(octets):
    head, _, body = octets.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(status_line.split()[1]), headers, body)
