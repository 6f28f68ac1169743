"""A real server sends spans to a real receiver of OTLP: of calls, of messages, and of attempts to deliver them."""

import os
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.kit.metrics import MESSAGE, scrape
from tests.kit.patience import wait_until
from tests.kit.peers.collector import Collector
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import MASTER_KEY, configured, end, fetch, logged
from tests.kit.stores import postgresql
from waypost import testing
from waypost.client.http import Connection
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.observe.metrics import families

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@contextmanager
def webhook():
    """Run a webhook that takes all mail. Yield its URL, and the list of the header fields of its requests."""
    received = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            received.append(dict(self.headers))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", received
    server.shutdown()
    server.server_close()


def route_to(url, directory):
    """Return the route from crm@example.com to a webhook, for a settings file in the directory."""
    (directory / "secret").write_text("a secret of some length")
    (directory / "secret").chmod(0o600)
    return f"""
    [[route]]
    match = "crm@example.com"
    to = "{url}"
    secret_file = "secret"
    allow_private = true
    """


def of_message(message_id):
    """Match the spans in the trace of a message."""
    return lambda span: span.trace_id == message_id.replace("-", "")


@pytest.fixture(scope="module")
def collector():
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def hook():
    with webhook() as hook:
        yield hook


@pytest.fixture(scope="module")
def system(tmp_path_factory, collector, hook):
    directory = tmp_path_factory.mktemp("spans")
    options = ("--otel-traces", collector.url, "--metrics", "127.0.0.1:0", "--hostname", "mx.example")
    with configured(directory, route_to(hook[0], directory), *options) as system:
        (line,) = (line for line in logged(system.server, "listening") if line["edge"] == "metrics")
        system.metrics = f"http://{line['address']}"
        yield system


def test_a_message_has_spans_from_its_acceptance_to_the_webhook(system, collector, hook):
    _, received = hook
    for address in ("crm@example.com", "help@example.com"):
        made = system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=address)
        system.ids[address] = made["EmailAddressId"]
    system.connect.associate_email_address_alias(
        InstanceId=system.instance_id,
        EmailAddressId=system.ids["crm@example.com"],
        AliasConfiguration={"EmailAddressId": system.ids["help@example.com"]},
    )
    message_id = system.deliver(b"Subject: a secret subject\r\n\r\nHello.\r\n", "help@example.com")
    acceptance, attempt = sorted(collector.wait_for(of_message(message_id), 2), key=lambda span: span.begin)
    assert (acceptance.name, attempt.name) == ("accept message", "attempt webhook")
    assert (acceptance.parent_id, attempt.parent_id) == ("", acceptance.span_id)
    assert acceptance.begin <= acceptance.end <= attempt.end
    assert acceptance.attributes["waypost.message.id"] == message_id
    assert attempt.attributes["waypost.delivery.result"] == "delivered"
    assert attempt.attributes["waypost.delivery.code"] == 204
    (headers,) = received
    assert headers["traceparent"] == f"00-{attempt.trace_id}-{attempt.span_id}-01"
    assert acceptance.resource["service.instance.id"] == "mx.example"
    for word in ("@", "secret", "help", "crm", "client.example"):
        assert word not in acceptance.text + attempt.text


def test_a_call_is_a_child_of_its_caller(system, collector):
    def add(request, **_):
        request.headers["traceparent"] = f"00-{TRACE_ID}-{SPAN_ID}-01"

    system.connect.meta.events.register("before-send.connect.DescribeInstance", add)
    answer = system.connect.describe_instance(InstanceId=system.instance_id)
    (span,) = collector.wait_for(lambda span: span.trace_id == TRACE_ID)
    assert (span.name, span.parent_id) == ("Connect/DescribeInstance", SPAN_ID)
    assert span.attributes["aws.request_id"] == answer["ResponseMetadata"]["RequestId"]
    assert (span.attributes["http.response.status_code"], span.is_error) == (200, False)


def test_a_call_that_is_not_authenticated_is_in_no_trace_of_another(system, collector):
    assert fetch(f"{system.server.url}/instance/x", {"traceparent": f"00-{'ab' * 16}-{SPAN_ID}-01"}).status == 403
    (span,) = collector.wait_for(lambda span: span.attributes.get("waypost.call.result") == "denied")
    assert (span.name, span.parent_id) == ("Connect", "")
    assert span.trace_id != "ab" * 16


def test_the_spans_are_counted(system, collector):
    with pytest.raises(system.connect.exceptions.ResourceNotFoundException):
        system.connect.describe_instance(InstanceId="00000000-0000-0000-0000-000000000000")
    wait_until(lambda: scrape(system.metrics)[families.SPANS, "sent"] >= 1, pause=0.05)
    assert scrape(system.metrics)[families.SPANS, "dropped"] == 0


def test_without_the_setting_a_webhook_gets_no_context_and_the_packages_are_not_imported(tmp_path):
    with webhook() as (url, received), configured(tmp_path, route_to(url, tmp_path)) as system:
        system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress="crm@example.com")
        system.deliver(MESSAGE, "crm@example.com")
        wait_until(lambda: received)
        assert "traceparent" not in received[0]
        maps = Path(f"/proc/{system.server.run.pid}/maps").read_text() if sys.platform == "linux" else ""
    assert "google/_upb" not in maps  # the compiled part of protobuf


@pytest.mark.slow
def test_a_collector_that_hangs_delays_neither_mail_nor_calls_nor_the_end(tmp_path):
    with (
        Collector(hangs=True) as collector,
        configured(tmp_path, "", "--otel-traces", collector.url, "--workers", "2") as system,
    ):
        address = system.new_address()
        ids = [system.deliver(MESSAGE, address) for _ in range(20)]
        wait_until(lambda: collector.requests)
        assert len(system.inbox(address)) == len(ids)
        system.server.stop()  # fails unless the server ends by itself
        lost = logged(system.server, "spans_lost")
    assert lost
    assert {line["reason"] for line in lost} == {"the server stops"}


@pytest.mark.slow
@pytest.mark.long
def test_each_worker_process_sends_its_spans_also_one_that_replaces_another(tmp_path):
    with Collector() as collector, configured(tmp_path, "", "--otel-traces", collector.url, "--workers", "2") as system:
        address = system.new_address()

        def instances():
            system.deliver(MESSAGE, address)
            return {span.resource["service.instance.id"].rpartition("/")[2] for span in collector.spans}

        wait_until(lambda: instances() == {"1", "2"}, pause=0.05)
        first = next(line for line in logged(system.server, "worker_started") if line["worker"] == 1)
        os.kill(first["pid"], signal.SIGKILL)
        wait_until(lambda: len(logged(system.server, "worker_started")) == 3)
        collector.spans.clear()
        wait_until(lambda: "1" in instances(), pause=0.05)


@pytest.mark.slow
@pytest.mark.long
def test_an_attempt_of_one_server_is_a_child_of_the_acceptance_by_another(tmp_path, monkeypatch):
    monkeypatch.setenv(MASTER_KEY_VARIABLE, MASTER_KEY)
    url = postgresql.new_database()
    with Collector() as collector, Sink() as sink, ExitStack() as opened:
        opened.callback(postgresql.drop_database, url)
        options = ("--database", url, "--otel-traces", collector.url)
        system = opened.enter_context(
            configured(
                tmp_path, "", *options, "--hostname", "front.example", "--roles", "api,smtp,upkeep", name="front"
            )
        )
        address = system.new_address()
        key = system.server.profile.key
        Connection(system.server.run.http, key_id=key.id, secret=key.secret).post(
            "routes", {"match": address, "to": sink.to}
        )
        message_id = system.deliver(MESSAGE, address)
        (acceptance,) = collector.wait_for(of_message(message_id))
        back = testing.Server(tmp_path / "back", *options, "--hostname", "back.example", "--roles", "delivery")
        opened.callback(end, back)
        back.start()
        attempt = collector.wait_for(of_message(message_id), 2)[1]
    assert (attempt.name, attempt.parent_id) == ("attempt smtp", acceptance.span_id)
    assert [span.resource["host.name"] for span in (acceptance, attempt)] == ["front.example", "back.example"]
