"""Each metric of a real server changes when what it counts happens."""

import re
import smtplib
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import botocore.exceptions
import pytest

from tests.kit.metrics import LOOPING, MESSAGE, monitored, scrape
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import fetch, waypost
from waypost import testing
from waypost.host.data_directory import DataDirectory
from waypost.observe.metrics import families
from waypost.observe.metrics.families import FAMILIES
from waypost.server.assembly.metrics import BOUNDS
from waypost.testing import process

SHOWN_HERE = set()
"""The metrics that a test in this file makes happen."""

SHOWN_ELSEWHERE = {
    families.LEASES_LOST: "tests/delivery/queue/test_worker_faults.py",
    families.QUEUE_HELD: "tests/e2e/mail/test_held_queue.py",
    families.CLOCK_SKEW: "tests/e2e/stores/test_wrong_clock.py",
    families.CONNECTIONS_REFUSED: "tests/smtp/limits/test_admission.py",
    families.INCIDENTS: "tests/api/test_boundary.py",
    families.SPANS: "tests/e2e/web/test_spans.py",
    families.PROBE_SUCCESS: "tests/e2e/mail/test_probe.py",
    families.PROBE_SECONDS: "tests/e2e/mail/test_probe.py",
    families.PROBE_LAST_SUCCESS: "tests/e2e/mail/test_probe.py",
    families.PROBES: "tests/e2e/mail/test_probe.py",
    families.LOG_LINES_DROPPED: "tests/observe/test_logs.py",
    families.WORKER_RESTARTS: "tests/server/supervisor/test_supervisor.py",
}
"""The metrics that count an event which is hard to cause in a real server, each with a test that causes the event."""


def shows(*shown):
    """Note that a test makes these metrics happen."""
    SHOWN_HERE.update(shown)
    return lambda test: test


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with Sink() as sink, monitored(tmp_path_factory.mktemp("metrics"), sink) as system:
        yield system


@contextmanager
def rises(system, *series):
    """Check that these values rise by at least one in the `with` block, or soon afterwards."""
    before = scrape(system.metrics)
    yield

    def has_risen():
        now = scrape(system.metrics)
        return all(now[one] >= before[one] + 1 for one in series)

    wait_until(has_risen, lambda: f"{series} have not risen", pause=0.05)


@contextmanager
def session(system):
    with smtplib.SMTP(*system.server.smtp, local_hostname="client.example", timeout=PATIENCE) as client:
        client.ehlo()
        yield client


@shows(
    families.MESSAGES_ACCEPTED,
    families.RECIPIENTS_ACCEPTED,
    families.OCTETS_ACCEPTED,
    families.DELIVERED,
    families.ATTEMPT_SECONDS,
    families.COMMIT_SECONDS,
    families.COMMIT_WRITES,
)
def test_mail_that_is_accepted_and_delivered(system):
    before = scrape(system.metrics)
    with rises(
        system,
        families.MESSAGES_ACCEPTED,
        families.RECIPIENTS_ACCEPTED,
        families.OCTETS_ACCEPTED,
        (families.DELIVERED, "smtp"),
        (families.ATTEMPT_SECONDS, "smtp"),
        families.COMMIT_SECONDS,
        families.COMMIT_WRITES,
    ):
        system.deliver(MESSAGE, "taken@example.com")
    assert scrape(system.metrics)[families.OCTETS_ACCEPTED] == before[families.OCTETS_ACCEPTED] + len(MESSAGE)


@shows(families.DEFERRED, families.QUEUE_DELIVERIES, families.QUEUE_AGE)
def test_mail_that_waits(system):
    system.deliver(MESSAGE, "later@example.com")
    # Other tests may have made the destination wait, or have left deliveries in the queue, which end meanwhile.
    wait_until(
        lambda: all(scrape(system.metrics)[one, "smtp"] >= 1 for one in (families.DEFERRED, families.QUEUE_DELIVERIES)),
        pause=0.05,
    )
    first = scrape(system.metrics)[families.QUEUE_AGE, "smtp"]
    wait_until(lambda: scrape(system.metrics)[families.QUEUE_AGE, "smtp"] > first > 0, pause=0.05)


@shows(families.DEAD, families.DEAD_REMOVED)
def test_mail_that_becomes_a_dead_letter_and_is_removed(system):
    with rises(system, (families.DEAD, "maildir")):
        system.deliver(MESSAGE, "never@example.com")
    wait_until(lambda: system.json("dead-letters", address="never@example.com")["dead_letters"])
    with rises(system, (families.DEAD_REMOVED, "request")):
        removed = waypost("dead", "remove", "--address", "never@example.com", "--yes", "--data", system.server.data)
        assert removed.returncode == 0, removed.stderr


@shows(families.MESSAGES_REFUSED, families.RECIPIENTS_REFUSED)
def test_mail_that_is_refused(system):
    with rises(system, (families.MESSAGES_REFUSED, "loop"), (families.RECIPIENTS_REFUSED, "unknown_recipient")):
        assert system.send(LOOPING, "taken@example.com")[0] == 554
        assert system.rcpt("nobody@example.com")[0] == 550


@shows(families.API_CALLS, families.API_SECONDS)
def test_calls_of_the_api(system):
    def call_often():
        for _ in range(1_000):
            system.connect.describe_instance(InstanceId=system.instance_id)

    with rises(
        system,
        (families.API_CALLS, "DescribeInstance", "ok"),
        (families.API_CALLS, "DescribeInstance", "throttled"),
        (families.API_CALLS, "DescribeEmailAddress", "refused"),
        (families.API_CALLS, "other", "denied"),
        (families.API_SECONDS, "DescribeInstance"),
    ):
        with pytest.raises(botocore.exceptions.ClientError, match="ThrottlingException"):
            call_often()
        with pytest.raises(botocore.exceptions.ClientError, match="ResourceNotFoundException"):
            system.connect.describe_email_address(
                InstanceId=system.instance_id, EmailAddressId="00000000-0000-0000-0000-000000000000"
            )
        assert fetch(f"{system.server.url}/instance/x").status == 403


@shows(families.SESSIONS_OPENED, families.SESSIONS_CLOSED, families.SESSIONS, families.MEMORY_USED)
def test_sessions_of_mail_clients(system):
    with (
        rises(system, (families.SESSIONS_OPENED, "smtp"), (families.SESSIONS_CLOSED, "smtp")),
        session(system) as client,
    ):
        assert scrape(system.metrics)[families.SESSIONS, "ready"] == 1
        client.mail("a@client.example")
        client.rcpt("taken@example.com")
        client.docmd("DATA")
        client.send("Subject: hello\r\n")
        wait_until(lambda: scrape(system.metrics)[families.MEMORY_USED] > 0, pause=0.05)
        now = scrape(system.metrics)
        assert (now[families.SESSIONS, "ready"], now[families.SESSIONS, "data"]) == (0, 1)
        assert client.docmd(".")[0] == 250
    wait_until(lambda: scrape(system.metrics)[families.SESSIONS, "ready"] == 0, pause=0.05)
    assert scrape(system.metrics)[families.MEMORY_USED] == 0


@shows(families.TLS_HANDSHAKES, families.CERTIFICATE_EXPIRY)
def test_tls(system):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = system.server.run.smtps.rpartition(":")
    with rises(
        system, (families.TLS_HANDSHAKES, "smtp", "ok", "TLSv1.3"), (families.TLS_HANDSHAKES, "smtp", "failed", "none")
    ):
        with session(system) as client:
            client.starttls(context=context)
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while client.recv(4096):
                pass
    assert scrape(system.metrics)[families.CERTIFICATE_EXPIRY, "smtp"] > time.time()


@shows(
    families.SESSIONS_LIMIT,
    families.HTTP_CONNECTIONS,
    families.HTTP_CONNECTIONS_LIMIT,
    families.MEMORY_LIMIT,
    families.DISK_FREE,
    families.DISK_RESERVE,
    families.BUILD,
    families.START_TIME,
)
def test_the_server_and_its_limits(system):
    host, _, port = system.server.run.http.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE):
        wait_until(lambda: scrape(system.metrics)[families.HTTP_CONNECTIONS] >= 1, pause=0.05)
    now = scrape(system.metrics)
    assert now[families.SESSIONS_LIMIT] == 15_000
    assert now[families.HTTP_CONNECTIONS_LIMIT] == 1_000
    assert now[families.MEMORY_LIMIT] == 128 * 2**20
    assert now[families.DISK_RESERVE] == 256 * 2**20
    assert now[families.DISK_FREE] > 2**20
    assert time.time() - 3600 < now[families.START_TIME] <= time.time()
    assert now.has(families.BUILD)


@shows(families.STORE_ERRORS)
def test_a_store_that_fails(tmp_path):
    server = testing.Server(tmp_path / "data")
    server.start()
    try:
        before = scrape(f"{server.url}/_waypost")
        DataDirectory(server.data).database.with_name("waypost.sqlite3-turn").unlink()
        assert fetch(f"{server.url}/_waypost/ready").status == 503
        now = scrape(f"{server.url}/_waypost")
    finally:
        server.stop()
    assert now[families.STORE_ERRORS, "inspection"] == before[families.STORE_ERRORS, "inspection"] + 1
    assert not [family for family in families.PROBE_GAUGES if now.has(family)]  # the server sends no probes


def test_each_metric_is_made_to_happen_by_a_test():
    assert set(FAMILIES) == SHOWN_HERE | SHOWN_ELSEWHERE.keys()
    for path in SHOWN_ELSEWHERE.values():
        assert (Path(__file__).parents[3] / path).exists()


def test_the_listener_for_metrics_has_also_the_health_of_the_server_and_nothing_else(system):
    assert fetch(f"{system.metrics}/_waypost/metrics").body.startswith(b"# HELP waypost_")
    assert fetch(f"{system.metrics}/_waypost/health").json()["status"] == "ok"
    assert fetch(f"{system.metrics}/_waypost/ready").json() == {"status": "ready"}
    for path in ("/", "/console/", "/_waypost/messages", "/instance"):
        answer = fetch(system.metrics + path)
        assert answer.status == 404
        assert "/metrics" in answer.json()["error"]
    assert fetch(f"{system.metrics}/metrics", {"Host": "evil.example"}).status == 403


def test_one_client_cannot_use_up_the_connections_to_the_listener_for_metrics(system):
    host, _, port = system.metrics.removeprefix("http://").rpartition(":")
    with ExitStack() as opened:
        for _ in range(BOUNDS.connections):
            client = socket.create_connection((host, int(port)), PATIENCE, source_address=("127.0.0.9", 0))
            opened.enter_context(client)
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")
        assert fetch(f"{system.metrics}/metrics").status == 200


def test_the_page_names_no_addresses_and_no_domains(system):
    system.deliver(MESSAGE, "taken@example.com")
    for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
        answer = fetch(f"{system.metrics}/metrics", {"Accept": accept})
        assert answer.headers["content-type"].startswith(accept.partition(";")[0])
        assert not re.search(rb"example|@|127\.0\.0\.1|[0-9a-f]{8}-[0-9a-f]{4}-", answer.body)


def test_a_server_with_a_listener_for_metrics_loads_the_page_before_the_first_request(monkeypatch):
    monkeypatch.setattr(process, "subprocess", subprocess)  # a forked process does not read Python's variables
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # Python writes each import to the log
    with testing.server("--metrics", "127.0.0.1:0") as server:
        wait_until(lambda: "waypost.observe.metrics.page" in server.log.read_text(encoding="utf-8"), pause=0.05)


def test_on_the_port_of_the_api_the_owner_can_read_the_metrics(system):
    assert system.get("metrics").status == 200
    assert system.get("metrics", key=()).status == 200
