"""The servers, the database and the proxy of compose.yaml work together. They run as processes of this machine."""

import http.client
import json
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
from base64 import b64encode
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from types import SimpleNamespace

import boto3
import botocore.config
import psycopg
import pytest
import yaml

from tests.kit.deployments import DEPLOY, LONGEST_STOP, Container, files_needed, make_secrets
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import ACCEPTED, fetch, logged
from tests.kit.stores.postgresql import OwnServer
from waypost.config.settings import Settings
from waypost.host.data_directory import DataDirectory

COMPOSE = DEPLOY / "compose"
FILE = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
PROXY = (COMPOSE / "haproxy.cfg").read_text(encoding="utf-8")
SERVICES = FILE["services"]
SERVERS = {name: service for name, service in SERVICES.items() if name.startswith("waypost-")}
PAGE = (DEPLOY.parent / "docs" / "how-to" / "compose.md").read_text(encoding="utf-8")
CONTAINERFILE = (DEPLOY.parent / "Containerfile").read_text(encoding="utf-8")

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
needs_haproxy = pytest.mark.skipif(
    HAPROXY is None, reason="HAProxy is not installed: apt-get install --no-install-recommends haproxy"
)
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed: apt-get install openssl"
)


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_only_the_rights_that_it_needs(name):
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in service
    assert "privileged" not in service
    user, group = service["user"].split(":")
    assert int(user) > 0 < int(group)
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["mem_limit"]
    for volume in service["volumes"]:
        source, _, mode = volume.partition(":")
        assert source in FILE["volumes"] or mode.endswith(":ro")


def test_only_the_proxy_can_be_reached_and_only_the_servers_reach_the_database():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    in_network = {
        name: {one for one, service in SERVICES.items() if name in service["networks"]} for name in FILE["networks"]
    }
    assert in_network == {
        "internet": {"proxy"},
        "calls": {"proxy", *SERVERS},
        "database": {"database", *SERVERS},
    }
    assert FILE["networks"]["database"]["internal"]
    (subnet,) = FILE["networks"]["calls"]["ipam"]["config"]
    for service in SERVERS.values():
        assert f"--proxy-networks={subnet['subnet']}" in service["command"]
    # Engines take their own networks from this range, and so does the default VPC of AWS.
    assert not ip_network(subnet["subnet"]).overlaps(ip_network("172.16.0.0/12"))


def test_the_limits_of_the_services_fit_the_settings_of_the_servers():
    (most,) = (int(word.partition("=")[2]) for word in SERVICES["database"]["command"] if "max_connections" in word)
    assert most >= len(SERVERS) * Settings().database_connections + 20
    for service in SERVERS.values():
        assert seconds(service["stop_grace_period"]) >= LONGEST_STOP
        assert service["ulimits"]["nofile"]["soft"] >= files_needed()
        assert f"USER {service['user']}" in CONTAINERFILE
    for port in re.findall(r"^EXPOSE (.*)$", CONTAINERFILE, re.MULTILINE)[0].split():
        for name, service in SERVERS.items():
            assert any(word.endswith(f"0.0.0.0:{port}") for word in service["command"])
            assert f"{name} {name}:{port}" in PROXY
    proxy = SERVICES["proxy"]
    (connections,) = re.findall(r"^ +maxconn (\d+)$", PROXY.partition("defaults")[0], re.MULTILINE)
    assert proxy["ulimits"]["nofile"]["soft"] > 2 * int(connections)  # one for the client, and one for the server
    for published in proxy["ports"]:
        assert f"bind :{published.partition(':')[2]}" in PROXY


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    directory = tmp_path_factory.mktemp("compose") / "secrets"
    done = make_secrets(directory)
    assert done.returncode == 0, done.stderr
    return directory


@contextmanager
def database(directory, secrets):
    """Run PostgreSQL with the options of the service. Its URL replaces the one in the copied secret."""
    options = SERVICES["database"]["command"]
    settings = dict(word.split("=") for flag, word in zip(options[1::2], options[2::2], strict=True) if flag == "-c")
    environment = SERVICES["database"]["environment"]
    user, name = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
    with OwnServer(tcp=True, **settings) as server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE {user} LOGIN")
            admin.execute(f"CREATE DATABASE {name} OWNER {user} ENCODING 'UTF8' TEMPLATE template0")
        address = server.url.partition("@")[2].partition("/")[0]
        given = (secrets / "database_url").read_text()
        assert given.startswith(f"postgresql://{user}:")
        assert f"@database/{name}?" in given
        (directory / "database_url").write_text(given.replace("@database/", f"@{address}/"))
        yield


@contextmanager
def proxy(directory, secrets, servers, *, added=""):
    """Run HAProxy with its configuration and the addresses of the servers. Yield its ports by their name. `added` is a
    line for the frontend `calls`.
    """
    text = PROXY.replace("    default_backend calls\n", f"    {added}\n    default_backend calls\n")
    text = text.replace("/run/tls", str(secrets / "tls"))
    text = re.sub(
        r"maxconn (\d+)", lambda found: f"maxconn {int(found[1]) // 100}", text
    )  # within the limit on open files
    with ExitStack() as listeners:
        ports, files = {}, []
        for name, bound in re.findall(r"^frontend (\w+)\n(?:    .*\n)*?    bind (\S+)", PROXY, re.MULTILINE):
            listening = listeners.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports[name] = listening.getsockname()[1]
            files.append(listening.fileno())
            text = text.replace(f"bind {bound}", f"bind fd@{listening.fileno()}")
        for name, server in servers.items():
            text = text.replace(f" {name}:1025", f" {server.run.smtp}").replace(f" {name}:8025", f" {server.run.http}")
            port = server.run.http.rpartition(":")[2]
            text = re.sub(rf"(server {name} .* check port) 8025", rf"\g<1> {port}", text)
        file, log = directory / "haproxy.cfg", directory / "haproxy.log"
        file.write_text(text)
        with log.open("wb") as output:
            process = subprocess.Popen([HAPROXY, "-db", "-f", file], stdout=output, stderr=output, pass_fds=files)
    try:
        wait_until(lambda: process.poll() is not None or answer_of("127.0.0.1", ports["health"]) == 200, log.read_text)
        assert process.poll() is None, log.read_text()
        yield ports
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answer_of(host, port):
    """Return the status of the proxy's own health; None if it does not answer."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


@pytest.fixture
def topology(tmp_path, secrets):
    """All services of compose.yaml. Yield the servers by their names, and the ports of the proxy."""
    replaced = {
        "/run/tls": str(secrets / "tls"),
        FILE["networks"]["calls"]["ipam"]["config"][0]["subnet"]: "127.0.0.0/8",
        "/run/secrets/database_url": str(tmp_path / "database_url"),
        "/run/secrets": str(secrets),
    }
    with database(tmp_path, secrets), ExitStack() as opened:
        servers = {}
        for name, service in SERVERS.items():
            servers[name] = Container(tmp_path / name, service["command"], service["environment"], replaced)
            opened.callback(servers[name].stop)
            servers[name].start()
        ports = opened.enter_context(proxy(tmp_path, secrets, servers))
        yield servers, ports
    for server in servers.values():
        assert not logged(server, "failed", "store_failed", "proxy_header_refused")


class Clients:
    """Clients that reach the servers through the proxy alone."""

    def __init__(self, ports, certificate, profile):
        self._ports = ports
        self._trust = ssl.create_default_context(cafile=certificate)
        self._key = profile.key
        self.connect = boto3.client(
            "connect",
            endpoint_url=f"https://127.0.0.1:{ports['calls']}",
            region_name=profile.region,
            aws_access_key_id=profile.key.id,
            aws_secret_access_key=profile.key.secret,
            verify=str(certificate),
            config=botocore.config.Config(proxies={}),
        )

    def call(self, method, path, body=None, *, with_key=True):
        """Send a request to the inspection API. Return the status and the parsed body."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._ports["calls"], context=self._trust, timeout=PATIENCE
        )
        headers = {"content-type": "application/json"}
        if with_key:
            headers["authorization"] = "Basic " + b64encode(f"{self._key.id}:{self._key.secret}".encode()).decode()
        connection.request(method, f"/_waypost/{path}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read() or "null")
        connection.close()
        return found

    def send(self, recipient, source):
        """Send a message from an address, over STARTTLS. Return its id."""
        with wait_until(lambda: self._connected(source), "no server accepts mail", pause=0.5) as client:
            client.starttls(context=self._trust)
            client.ehlo()
            client.mail("ann@client.example")
            assert client.rcpt(recipient)[0] == 250
            code, text = client.data(b"Subject: hello\r\n\r\nHello.\r\n")
        assert code == 250
        return ACCEPTED.fullmatch(text)["id"].decode()

    def _connected(self, source):
        """Return a client that has got a greeting; None if the proxy uses no server yet."""
        with suppress(OSError, smtplib.SMTPException):
            return smtplib.SMTP("127.0.0.1", self._ports["mail"], timeout=PATIENCE, source_address=(source, 0))
        return None


@pytest.mark.slow
@pytest.mark.long
@needs_haproxy
@needs_openssl
def test_the_services_forward_mail_and_answer_calls_and_go_on_without_one_server(topology, secrets):
    servers, ports = topology
    profile = DataDirectory(servers["waypost-1"].data).profiles()[0]
    clients = Clients(ports, secrets / "tls" / "certificate.pem", profile)
    instance = clients.connect.list_instances()["InstanceSummaryList"][0]["Id"]
    primary, alias = (
        clients.connect.create_email_address(InstanceId=instance, EmailAddress=f"{name}@example.com")["EmailAddressId"]
        for name in ("queue", "support")
    )
    clients.connect.associate_email_address_alias(
        InstanceId=instance, EmailAddressId=primary, AliasConfiguration={"EmailAddressId": alias}
    )

    def send(source):
        message = clients.send("support@example.com", source)
        _, shown = clients.call("GET", f"messages/{message}")
        assert source in json.dumps(shown), "the trace has the address of the client"

    def is_queue_empty():
        return clients.call("GET", "queue")[1]["deliveries"] == []

    def has_each_server_accepted_mail():
        send("127.0.0.5")
        return all(logged(server, "message_accepted") for server in servers.values())

    with Sink() as sink:
        status, _ = clients.call("POST", "routes", {"match": "queue@example.com", "to": sink.to})
        assert status == 200
        wait_until(has_each_server_accepted_mail, "the proxy does not use both servers")
        wait_until(is_queue_empty)
        before = len(sink.taken)
        servers["waypost-1"].kill()
        assert clients.connect.describe_email_address(InstanceId=instance, EmailAddressId=primary)[
            "AliasConfigurations"
        ]
        for _ in range(4):
            send("127.0.0.6")
        sink.wait_for(before + 4)
        wait_until(is_queue_empty)
        assert sorted(sink.counts().values()) == [1] * (before + 4)
    assert answer_of("127.0.0.1", ports["health"]) == 200
    assert fetch(f"http://{servers['waypost-2'].run.metrics}/metrics", {"host": "waypost-2:9464"}).status == 200
    clients.connect.close()


class Everything(BaseHTTPRequestHandler):
    """Answers each request with 200."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Write nothing to standard error."""


@contextmanager
def passed_on(tmp_path, secrets, *, added=""):
    """Run the proxy with a server that answers each request with 200. Yield a function that returns the status of a
    request to the proxy for a path.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), Everything) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        run = SimpleNamespace(run=SimpleNamespace(http=address, smtp=address))
        trust = ssl.create_default_context(cafile=secrets / "tls" / "certificate.pem")
        with proxy(tmp_path, secrets, dict.fromkeys(SERVERS, run), added=added) as ports:

            def status(path):
                client = http.client.HTTPSConnection("127.0.0.1", ports["calls"], context=trust, timeout=PATIENCE)
                client.request("GET", path)
                found = client.getresponse().status
                client.close()
                return found

            yield status
        server.shutdown()


@pytest.mark.slow
@needs_haproxy
@needs_openssl
def test_the_proxy_passes_no_requests_on_for_the_pages_of_probes_and_prometheus(tmp_path, secrets):
    with passed_on(tmp_path, secrets) as status:
        for page in ("ready", "health", "metrics"):
            assert status(f"/_waypost/{page}") == 404
            assert status(f"/_waypost/%{ord(page[0]):x}{page[1:]}?x=1") == 404
            assert status(f"https://mx.example.com/_waypost/{page}") == 404
        assert status("/_waypost/messages") == 200
        assert status("/") == 200


@pytest.mark.slow
@needs_haproxy
@needs_openssl
@pytest.mark.parametrize(("network", "expected"), [("192.0.2.0/24", 403), ("127.0.0.0/8", 200)])
def test_the_line_of_the_page_lets_only_some_networks_use_the_inspection_api(tmp_path, secrets, network, expected):
    (line,) = re.findall(r"^http-request deny .*$", PAGE, re.MULTILINE)
    with passed_on(tmp_path, secrets, added=line.replace("192.0.2.0/24", network)) as status:
        assert status("/_waypost/messages") == status("/%5fwaypost/messages") == expected
        assert status("/contact/email-addresses") == 200


def test_the_page_builds_the_wheel_of_the_new_version_before_its_image():
    upgrade = PAGE.partition("\n## Upgrade\n")[2].partition("\n## ")[0]
    first, *_ = upgrade.partition("\n```bash\n")[2].splitlines()
    assert first == "make package"
    assert upgrade.index("make package\n") < upgrade.index("docker compose build")


@pytest.mark.slow
@needs_haproxy
@needs_openssl
def test_haproxy_finds_no_fault_in_its_configuration(tmp_path, secrets):
    file = tmp_path / "haproxy.cfg"
    text = re.sub(r"(server (waypost-\d) )waypost-\d", r"\g<1>127.0.0.1", PROXY)  # the names exist only in the network
    file.write_text(text.replace("/run/tls", str(secrets / "tls")))
    done = subprocess.run([HAPROXY, "-c", "-f", file], capture_output=True, text=True, check=False)
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
