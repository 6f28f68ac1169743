"""Reads the page with the metrics of a running server, and runs a server in which many metrics change."""

from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.kit.servers.running import fetch, logged, started
from waypost import testing
from waypost.observe.metrics.families import Kind

MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"
LOOPING = b"".join(b"Received: from a by b; Tue, 1 Dec 2026 12:00:00 +0000\r\n" for _ in range(101)) + MESSAGE
"""A message that the server refuses, because it has passed too many servers."""


class Scraped:
    """The values of one page with metrics."""

    def __init__(self, page):
        self._values = {
            (sample.name, tuple(value for label, value in sample.labels.items() if label != "le")): sample.value
            for family in parsed(page)
            for sample in family.samples
            if not sample.name.endswith("_bucket")
        }

    def __getitem__(self, of):
        """Return the value of a family, or of a family with label values. Of a histogram, this is the count."""
        family, *labels = of if isinstance(of, tuple) else (of,)
        name = f"{family.name}_count" if family.kind is Kind.HISTOGRAM else family.name
        return self._values[name, tuple(labels)]

    def has(self, family):
        return any(name == family.name for name, _ in self._values)


def scrape(url):
    """Return the values of the page `metrics` below a URL."""
    answer = fetch(f"{url}/metrics")
    assert answer.status == 200, answer.body
    return Scraped(answer.body.decode())


@contextmanager
def monitored(directory, sink):
    """Run a server that has routes of each outcome, TLS, and a listener for metrics. Yield its `System`, whose
    `metrics` is the URL of that listener.
    """
    settings = directory / "waypost.toml"
    settings.write_text(
        f"""
        [[route]]
        match = "taken@example.com"
        to = "{sink.to}"
        [[route]]
        match = "later@example.com"
        to = "{sink.to}"
        fault = "tempfail"
        [[route]]
        match = "never@example.com"
        to = "maildir:{directory / "mail"}"
        fault = "permfail"
        """
    )
    options = ("--metrics", "127.0.0.1:0", "--smtps", "127.0.0.1:0", "--tls-certificate", "self-signed")
    options += ("--probe-alias", "probe@example.com", "--probe-every", "10m")  # not an alias, so that no probe is sent
    server = testing.Server(directory / "data", "--config", str(settings), "--limits", "aws", *options)
    with started(server) as system:
        (line,) = (line for line in logged(server, "listening") if line["edge"] == "metrics")
        system.metrics = f"http://{line['address']}"
        for name in ("taken", "later", "never"):
            system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=f"{name}@example.com")
        yield system
