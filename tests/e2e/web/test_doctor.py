"""A running server checks itself for the inspection API and the console."""

from contextlib import contextmanager

import pytest

from tests.e2e.web.test_inspection_schema import differences
from tests.kit.browser import Browser
from tests.kit.peers.dns_server import Zone
from tests.kit.servers.running import System, waypost_process
from waypost import testing
from waypost.app import inspection_schema as schema

# These servers are only for this file.
pytestmark = pytest.mark.slow

SETTINGS = """
hostname = "mail.example"
dns = "{dns}"
workers = {workers}

[[route]]
match = "far@shop.example"
to = "smtp://127.0.0.1:1"
"""


@contextmanager
def running(directory, *, workers=1):
    """Run a server with a DNS server of its own."""
    with Zone({"mail.example": {"A": ["192.0.2.1"]}}) as zone:
        host, port = zone.address
        file = directory / "waypost.toml"
        file.write_text(SETTINGS.format(dns=f"{host}:{port}", workers=workers), encoding="utf-8")
        with testing.server("--config", str(file)) as server:
            system = System(server)
            yield system
            system.connect.close()
            log = server.log.read_text(encoding="utf-8")
        assert "Traceback" not in log


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("checked")) as system:
        yield system


def form(system):
    """Sign in to the console as the owner, and return the page that the form leads to."""
    key = system.server.profile.key
    browser = Browser(system.server.url)
    assert browser.sign_in(key.id, key.secret).status == 303
    browser.get("/doctor")
    return browser.post("/doctor")


def test_the_results_match_the_schema_and_name_what_is_wrong(server):
    added = waypost_process("routes", "add", "near@shop.example", "inbox", "--data", server.server.data)
    assert added.returncode == 0, added.stderr
    found = server.json("doctor")
    assert differences(found, schema.ANSWERS["GET /doctor"]) == []
    assert found["is_healthy"] is False
    assert {one["check"] for one in found["findings"]} == {
        *("server", "ports", "permissions", "disk", "limits", "clock", "dns", "tls", "database", "routes")
    }
    texts = {one["text"]: one["level"] for one in found["findings"]}
    assert texts[f"A server is using {server.server.data} (process {server.server.run.pid})."] == "ok"
    assert texts[f"{server.server.run.http} (http) answers."] == "ok"
    assert texts["The DNS works, and mail.example has an address."] == "ok"
    assert texts["The target of the route near@shop.example to inbox can be reached."] == "ok"
    unreachable = "smtp://127.0.0.1:1 cannot be reached: connect: Connection refused"
    assert texts[f"{unreachable}. Mail for the route far@shop.example to smtp://127.0.0.1:1 waits."] == "problem"

    page = form(server)
    assert page.status == 200
    assert "1 problem" in page.text
    assert unreachable in page.text


def test_even_local_programs_need_a_key(server):
    assert server.get("doctor", key=()).status == 401


@pytest.mark.long
def test_each_worker_process_can_run_the_checks(tmp_path):
    with running(tmp_path, workers=2) as system:
        for _ in range(6):  # of connections, so that both processes answer
            assert "The DNS works" in form(system).text
