"""The console changes no call of the API: only a browser's GET of `/` is sent to the console."""

import http.client
import json
import urllib.parse
from importlib import resources

import boto3
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from tests.kit.patience import PATIENCE
from waypost.server.assembly import console as assembly
from waypost.server.assembly.http import INSPECTION

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def send(console, method, target, body=None, **headers):
    """Send a request, and return the status, the header fields and the body."""
    address = urllib.parse.urlsplit(console.system.server.url).netloc
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
    with connection.getresponse() as response:
        found = response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()
    connection.close()
    return found


@pytest.mark.parametrize("target", ["/", "/console"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_browser_is_sent_to_the_console(console, method, target):
    status, headers, body = send(console, method, target, Accept=HTML)
    assert (status, headers["location"], body) == (302, "/console/", b"")
    assert headers["vary"] == "accept"


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/", {"Accept": "*/*"}),
        ("GET", "/", {"Accept": "application/json"}),
        ("GET", "/", {"Accept": HTML, "Authorization": "AWS4-HMAC-SHA256 Credential=x"}),
        ("GET", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0", {"Accept": HTML}),
        ("POST", "/", {"Accept": HTML}),
        ("POST", "/", {"Accept": HTML, "X-Amz-Target": "AmazonConnectService.ListInstances"}),
        ("PUT", "/", {"Accept": HTML}),
        ("GET", "/instance", {"Accept": HTML}),
        ("GET", "/consoles", {"Accept": HTML}),
        ("GET", "//console/", {"Accept": HTML}),
        ("GET", "/Console/", {"Accept": HTML}),
    ],
)
def test_every_other_request_reaches_the_api(console, method, target, headers):
    status, found, body = send(console, method, target, **headers)
    assert status in {400, 403, 404}
    assert found["content-type"].startswith("application/")
    assert "x-amzn-requestid" in found
    json.loads(body)


def test_no_operation_of_the_api_has_a_path_of_the_console():
    model = json.loads(resources.files("waypost.api").joinpath("model.json").read_text(encoding="utf-8"))
    requests = {(one["method"], one["uri"]) for one in model["operations"].values()}
    assert len(requests) > 10
    prefixes = (INSPECTION, assembly.PREFIX)
    for method, uri in requests:
        assert not uri.startswith(prefixes)
        assert uri.partition("?")[0] not in assembly.LANDINGS, method


@pytest.fixture
def as_a_browser(console):
    """A client of the SDK that accepts HTML, like a browser, in every call."""
    client = boto3.client("connect", **console.system.server.client_arguments)
    client.meta.events.register("before-sign.connect", lambda request, **_: request.headers.add_header("Accept", HTML))
    yield client
    client.close()


def test_calls_of_the_sdk_work_even_if_they_accept_html(console, as_a_browser):
    instance = console.system.instance_id
    assert as_a_browser.list_instances()["InstanceSummaryList"]
    assert as_a_browser.describe_instance(InstanceId=instance)["Instance"]["Id"] == instance
    address = console.system.new_address("html")
    one = {"InstanceId": instance, "EmailAddressId": console.system.ids[address]}
    assert as_a_browser.describe_email_address(**one)["EmailAddress"] == address
    assert as_a_browser.search_email_addresses(InstanceId=instance)["EmailAddresses"]
    as_a_browser.update_email_address_metadata(**one, DisplayName="New")
    as_a_browser.delete_email_address(**one)


def test_a_presigned_get_works_in_a_browser(console):
    session = boto3.Session(
        **{name: value for name, value in console.system.server.client_arguments.items() if name != "endpoint_url"}
    )
    request = AWSRequest("GET", f"{console.system.server.url}/instance")
    SigV4QueryAuth(session.get_credentials(), "connect", session.region_name).add_auth(request)
    target = request.url.removeprefix(console.system.server.url)
    status, _, body = send(console, "GET", target, Accept=HTML, Sec_Fetch_Mode="navigate")
    assert status == 200
    assert json.loads(body)["InstanceSummaryList"]
