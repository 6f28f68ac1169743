"""Requests that a web page of another site sends to a real server through the browser of a user."""

import base64
import http.client
import json

import boto3
import pytest

from tests.kit.patience import PATIENCE
from tests.kit.servers.running import System
from waypost import testing

PATHS = [("GET", "messages"), ("GET", "queue"), ("GET", "trace?what=x@y.example"), ("POST", "dead-letters/redrive")]
FOREIGN = {
    "a foreign name that resolves to this server": {"Host": "evil.example:8025"},
    "another site": {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
    "another site, in an older browser": {"Origin": "http://evil.example"},
    "another port": {"Sec-Fetch-Site": "same-site"},
}


@pytest.fixture(scope="module")
def system():
    options = ("--hostname", "mail.example", "--http-names", "Waypost.Example, console")
    with testing.server(*options) as server:
        system = System(server)
        yield system
        system.connect.close()


def request(system, method, path, headers):
    host, _, port = system.server.run.http.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    key = system.server.profile.key
    credentials = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
    body = b'{"all": true}' if method == "POST" else None
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"} | headers
    connection.request(method, path if path.startswith("/") else f"/_waypost/{path}", body, headers)
    with connection.getresponse() as response:
        found = response.status, json.load(response)
    connection.close()
    return found


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_request_of_another_site_with_a_user_s_credentials_is_refused(system, method, path, headers):
    status, body = request(system, method, path, headers)
    assert status == 403
    assert "--http-names" in body["error"] or "another origin" in body["error"]


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "localhost:1", "mail.example", "waypost.example:8025", "console", "[::1]"]
)
def test_requests_with_a_host_name_of_this_server_are_accepted(system, name):
    assert request(system, "GET", "queue", {"Host": name})[0] == 200


@pytest.mark.parametrize("path", ["health", "ready"])
def test_health_and_ready_accept_any_host_name(system, path):
    assert (
        request(system, "GET", path, {"Host": "waypost.default.svc.cluster.local", "Sec-Fetch-Site": "cross-site"})[0]
        == 200
    )


def test_a_signed_call_is_accepted_with_any_host_name_and_origin(system):
    """The signature of a call covers Host, so a page that cannot sign calls is refused because of the signature."""
    client = boto3.client("connect", **system.server.client_arguments)

    def from_elsewhere(request, **_):
        request.headers["Host"] = "evil.example"
        request.headers["Origin"] = "http://evil.example"
        request.headers["Sec-Fetch-Site"] = "cross-site"

    client.meta.events.register("before-sign.connect", from_elsewhere)
    assert "InstanceSummaryList" in client.list_instances()
    client.close()
    status, body = request(system, "GET", "/instance", {"Host": "evil.example"})
    assert status == 403
    assert "AWS4-HMAC-SHA256" in body["message"]
