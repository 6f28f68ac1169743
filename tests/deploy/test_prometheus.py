"""A real Prometheus collects the metrics of a real server, and each query of the dashboard returns data."""

import shutil
import socket
import subprocess
import urllib.parse
from contextlib import contextmanager, suppress

import botocore.exceptions
import pytest

from tests.deploy.test_monitoring import RULES, queries
from tests.kit.metrics import LOOPING, MESSAGE, monitored
from tests.kit.patience import wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import fetch

PROMETHEUS = shutil.which("prometheus")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(
        PROMETHEUS is None, reason="Prometheus is not installed: apt-get install --no-install-recommends prometheus"
    ),
]


@contextmanager
def prometheus(directory, target):
    """Run Prometheus, which collects from `target` each second. Yield the URL of its API."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    (directory / "prometheus.yml").write_text(
        f"""
        global: {{scrape_interval: 1s, evaluation_interval: 1s}}
        rule_files: [{RULES}]
        scrape_configs:
          - job_name: waypost
            static_configs: [{{targets: ["{target}"]}}]
        """
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: _answers(address), (directory / "log").read_text)
        yield f"http://{address}/api/v1"
    finally:
        process.terminate()
        process.wait()


def _answers(address):
    host, _, port = address.partition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def result_of(api, query):
    answer = fetch(f"{api}/query?{urllib.parse.urlencode({'query': query})}")
    assert answer.status == 200, f"{query}: {answer.body}"
    return answer.json()["data"]["result"]


def make_traffic(system):
    for name in ("taken", "later", "never"):
        system.deliver(MESSAGE, f"{name}@example.com")
    system.send(LOOPING, "taken@example.com")
    system.rcpt("nobody@example.com")
    with suppress(botocore.exceptions.ClientError):  # the call may be throttled
        system.connect.describe_instance(InstanceId=system.instance_id)


def test_each_query_of_the_dashboard_returns_data(tmp_path):
    with (
        Sink() as sink,
        monitored(tmp_path, sink) as system,
        prometheus(tmp_path, system.metrics.removeprefix("http://")) as api,
    ):
        expected = {query: query.replace("$job", "waypost").replace("$__rate_interval", "1m") for _, query in queries()}
        missing = set(expected)

        def all_found():
            make_traffic(system)
            missing.intersection_update(query for query in missing if not _has_numbers(result_of(api, expected[query])))
            return not missing

        wait_until(all_found, lambda: f"no data: {missing}", pause=0.5)
        targets = fetch(f"{api}/targets").json()["data"]["activeTargets"]
        assert [target["health"] for target in targets] == ["up"]
        assert fetch(f"{api}/metadata?metric=waypost_messages_accepted").json()["data"]  # OpenMetrics adds _total
        groups = fetch(f"{api}/rules").json()["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}


def _has_numbers(result):
    return any(one["value"][1] != "NaN" for one in result)
