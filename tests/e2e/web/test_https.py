"""A real server with HTTPS: the AWS SDK and CLI, the commands, the console, and certificates that expire or change."""

import http.client
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.parse
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import boto3
import botocore.config
import botocore.exceptions
import pytest

from tests.kit.certificates import authority, client_context, in_files
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import logged, waypost
from waypost import testing
from waypost.cli.outcomes import Exit

NAME = "waypost.example"
ONCE = botocore.config.Config(proxies={}, retries={"total_max_attempts": 1})


@contextmanager
def files_of_tls():
    """Yield a directory with the certificate of an own authority, and with the authority."""
    issued = authority().issue(NAME)
    with in_files(certificate=issued.pem, key=issued.key_pem(), authority=authority().pem) as here:
        yield here


def options_of_tls(here):
    return [
        *("--https", "127.0.0.1:0", "--https-authority", str(here / "authority.pem")),
        *("--https-certificate", str(here / "certificate.pem"), "--https-key", str(here / "key.pem")),
    ]


@pytest.fixture(scope="module")
def server():
    """A server whose certificate is valid for the address in its URLs."""
    with files_of_tls() as here, testing.server("--hostname", "127.0.0.1", *options_of_tls(here)) as server:
        yield server


@pytest.fixture
def files():
    with files_of_tls() as here:
        yield here


@pytest.fixture
def start(tmp_path, files):
    """A function that starts a server with HTTPS on a free port, and returns it."""
    started = []

    def start(*options):
        server = testing.Server(tmp_path / "data", *options)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        if server._process.poll() is None:
            assert server.stop() == 0


def variables(server):
    done = waypost("env", "--json", "--data", server.data)
    assert (done.returncode, done.stderr) == (0, "")
    return {name: value for name, value in json.loads(done.stdout).items() if value is not None}


def handshaken(server, context):
    """Connect to the HTTPS address of a server with a TLS context, and return the connection."""
    host, _, port = server.run.https.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=PATIENCE)
    connection.connect()
    return connection


def test_boto3_uses_https_with_the_variables_of_env(server, monkeypatch):
    found = variables(server)
    port = server.run.https.rpartition(":")[2]
    assert found["AWS_ENDPOINT_URL_CONNECT"] == f"https://127.0.0.1:{port}"
    assert found["AWS_CA_BUNDLE"] == server.run.https_authority == found["NODE_EXTRA_CA_CERTS"]
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    client = boto3.Session().client("connect", config=ONCE)
    (instance,) = client.list_instances()["InstanceSummaryList"]
    made = client.create_email_address(InstanceId=instance["Id"], EmailAddress="support@example.com")
    described = client.describe_email_address(InstanceId=instance["Id"], EmailAddressId=made["EmailAddressId"])
    assert described["EmailAddress"] == "support@example.com"
    client.close()
    monkeypatch.delenv("AWS_CA_BUNDLE")
    client = boto3.Session().client("connect", config=ONCE)
    with pytest.raises(botocore.exceptions.SSLError):
        client.list_instances()
    client.close()


@pytest.mark.slow
@pytest.mark.long
def test_the_aws_cli_uses_https(server):
    aws = Path(sys.executable).with_name("aws")
    if not aws.exists():
        pytest.skip("there is no AWS CLI")
    found = variables(server)
    done = subprocess.run(
        [aws, "connect", "list-instances", "--query", "InstanceSummaryList[].Id", "--output", "text"],
        env=os.environ | found, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()) == (0, [found["WAYPOST_INSTANCE_ID"]]), done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_urls_have_the_name_of_a_server_for_other_machines(start, files):
    server = start(*options_of_tls(files), "--https", "0.0.0.0:0", "--hostname", NAME)
    port = server.run.https.rpartition(":")[2]
    found = variables(server)
    assert (found["WAYPOST_HTTPS"], server.run.https) == (f"{NAME}:{port}", f"127.0.0.1:{port}")
    assert found["AWS_ENDPOINT_URL_CONNECT"] == f"https://{NAME}:{port}"


@pytest.mark.slow
@pytest.mark.long
def test_the_commands_use_https_if_there_is_no_http(start, files):
    server = start(*options_of_tls(files), "--https", "0.0.0.0:0", "--hostname", NAME, "--http", "off")
    assert server.run.http == ""
    assert server.url == server.run.https_url
    listed = waypost("queue", "--json", "--data", server.data)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "WAYPOST_HTTP" not in variables(server)
    done = waypost("console", "--print", "--data", server.data)
    assert done.stdout.startswith(f"{server.run.https_url}/console/link/")


@pytest.mark.slow
@pytest.mark.long
def test_a_command_says_if_it_cannot_verify_the_certificate(start, files):
    server = start(*options_of_tls(files), "--https", "0.0.0.0:0", "--hostname", NAME, "--http", "off")
    (files / "authority.pem").write_bytes(authority("another").pem)
    done = waypost("queue", "--data", server.data)
    assert done.returncode == Exit.NO_SERVER
    assert f"The certificate of the server at {server.run.https} cannot be verified: " in done.stderr
    (files / "authority.pem").write_bytes(b"broken")
    done = waypost("queue", "--data", server.data)
    assert "The certificate authority in " in done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_the_self_signed_certificate_is_its_own_authority(start):
    server = start("--https", "127.0.0.1:0", "--tls-certificate", "self-signed")
    found = variables(server)
    assert found["AWS_CA_BUNDLE"] == found["WAYPOST_CERTIFICATE"] == str(server.data / "certificate.pem")
    context = ssl.create_default_context(cafile=found["AWS_CA_BUNDLE"])
    handshaken(server, context).close()


def test_the_policy_of_a_key_can_require_tls(server, tmp_path):
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}
        ],
    }
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    made = waypost("keys", "create", "--json", "--policy", tmp_path / "policy.json", "--data", server.data)
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    for url, allowed in ((server.run.https_url, True), (f"http://{server.run.http}", False)):
        client = boto3.client(
            "connect", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"], verify=server.run.https_authority, config=ONCE,
        )  # fmt: skip
        if allowed:
            assert client.list_instances()["InstanceSummaryList"]
        else:
            with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
                client.list_instances()
        client.close()


class Browser:
    """A browser that follows no redirects, and keeps its cookies."""

    def __init__(self, server, url, context):
        self.server, self.context = server, context
        self.parts = urllib.parse.urlsplit(url)
        self.cookies = {}

    def get(self, path, method="GET", body=None, **headers):
        """Return the status, the header fields and the text of a response."""
        if self.parts.scheme == "https":
            connection = handshaken(self.server, self.context)
        else:
            connection = http.client.HTTPConnection(self.parts.netloc, timeout=PATIENCE)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        fields = {"Host": self.parts.netloc, "Accept": "text/html", "Cookie": cookie, **headers}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        self.set = [value for name, value in response.getheaders() if name.lower() == "set-cookie"]
        for each in self.set:
            name, _, value = each.partition(";")[0].partition("=")
            self.cookies[name] = value
        found = response.status, dict(response.getheaders()), response.read().decode()
        connection.close()
        return found


def test_the_console_over_https_has_secure_cookies_of_its_own(server):
    link = waypost("console", "--print", "--data", server.data).stdout.strip()
    assert link.startswith("https://127.0.0.1:")
    browser = Browser(server, link, client_context())
    status, headers, _ = browser.get(urllib.parse.urlsplit(link).path)
    assert (status, headers["location"]) == (303, "/console/")
    assert browser.set
    assert all(each.startswith("__Secure-waypost_") and each.endswith("; Secure") for each in browser.set)
    assert browser.get("/console/mail")[0] == 200
    token = browser.cookies["__Secure-waypost_session"]
    assert browser.get("/console/mail", Origin=server.run.https_url, **{"Sec-Fetch-Site": "same-origin"})[0] == 200
    assert browser.get("/console/mail", Origin="https://evil.example", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert "strict-transport-security" not in browser.get("/console/mail")[1]  # the port is not 443
    # the cookies of HTTP are others, so that both can be used on one host
    plain = Browser(server, f"http://{server.run.http}", None)
    plain.cookies = {"__Secure-waypost_session": token}
    assert plain.get("/console/mail")[0] == 303
    assert plain.get("/console/sign-in")[0] == 200
    assert plain.set
    assert not any("Secure" in each for each in plain.set)


def test_the_console_asks_for_a_csrf_token_over_https(server):
    browser = Browser(server, server.run.https_url, client_context())
    status, _, page = browser.get("/console/sign-in")
    assert status == 200
    (token,) = re.findall(r'name="csrf" value="([^"]+)"', page)[:1] or [None]
    assert token
    key = server.profile.key
    form = urllib.parse.urlencode({"id": key.id, "secret": key.secret, "csrf": token})
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert browser.get("/console/sign-in", "POST", form.replace(token, "x"), **kind)[0] == 403
    assert browser.get("/console/sign-in", "POST", form, **kind)[0] == 303


@pytest.mark.slow
@pytest.mark.long
def test_an_expired_certificate_is_reported_and_a_new_one_is_used_after_sighup(start, files):
    expired = authority().issue(NAME, begins=timedelta(days=-20), ends=timedelta(days=-10))
    (files / "certificate.pem").write_bytes(expired.pem)
    (files / "key.pem").write_bytes(expired.key_pem())
    server = start(*options_of_tls(files), "--hostname", NAME)
    (event,) = wait_until(lambda: logged(server, "certificate_not_valid"))
    assert event["file"] == str(files / "certificate.pem")
    assert event["reason"].startswith("it expired on ")
    assert (
        f"Clients refuse the certificate in {files / 'certificate.pem'}, because it expired" in server.log.read_text()
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        handshaken(server, unnamed(client_context()))
    wait_until(lambda: logged(server, "tls_failed"))
    assert logged(server, "tls_failed")[0]["protocol"] == "http"
    settings = files / "waypost.toml"
    settings.write_text(
        f'https = "127.0.0.1:0"\nhttps_certificate = "certificate.pem"\nhttps_key = "key.pem"\nhostname = "{NAME}"\n'
        'dns = "127.0.0.1:1"\n'
    )
    found = waypost("doctor", "--json", "--config", settings, "--data", server.data)
    texts = [one["text"] for one in json.loads(found.stdout)["findings"] if one["level"] == "problem"]
    assert any(text.startswith("The certificate CN=") and "expired on" in text for text in texts), texts
    renewed = authority().issue(NAME)
    (files / "key.pem").write_bytes(renewed.key_pem())
    (files / "certificate.pem").write_bytes(renewed.pem)
    os.kill(server.run.pid, signal.SIGHUP)
    wait_until(lambda: logged(server, "reopened"))
    handshaken(server, unnamed(client_context())).close()
    assert len(logged(server, "certificate_not_valid")) == 1


def unnamed(context):
    """Return a context that verifies the chain but not the name, because these clients connect to an IP address."""
    context.check_hostname = False
    return context


@pytest.mark.slow
@pytest.mark.long
def test_curl_uses_https(start, files):
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    server = start(*options_of_tls(files), "--hostname", NAME)
    port = server.run.https.rpartition(":")[2]
    command = ["curl", "--silent", "--show-error", "--fail", "--cacert", files / "authority.pem"]
    command += ["--resolve", f"{NAME}:{port}:127.0.0.1", f"{server.run.https_url}/_waypost/health"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
