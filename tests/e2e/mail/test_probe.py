"""The self-probe of a real server with two worker processes: its metrics and its events."""

import time

import pytest

from tests.kit.metrics import scrape
from tests.kit.patience import wait_until
from tests.kit.servers.running import System, end, logged
from waypost import testing
from waypost.observe.metrics import families

pytestmark = pytest.mark.slow


@pytest.fixture
def system(tmp_path):
    server = testing.Server(
        tmp_path / "data", "--workers", "2", "--probe-alias", "probe@example.com", "--probe-every", "1s"
    )
    server.start()
    system = System(server)
    yield system
    system.connect.close()
    end(server)
    assert not logged(server, "failed")


def test_a_probe_through_an_alias_is_measured(system):
    def now():
        return scrape(f"{system.server.url}/_waypost")

    wait_until(lambda: now()[families.PROBES, "not_an_alias"] >= 1, pause=0.05)
    assert now()[families.PROBE_LAST_SUCCESS] == 0
    for address in ("inbox@example.com", "probe@example.com"):
        made = system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=address)
        system.ids[address] = made["EmailAddressId"]
    system.connect.associate_email_address_alias(**system._link("probe@example.com", "inbox@example.com"))
    wait_until(lambda: now()[families.PROBE_SUCCESS] == 1, pause=0.05)
    wait_until(lambda: now()[families.PROBES, "ok"] >= 3, pause=0.05)
    found = now()
    assert 0 < found[families.PROBE_SECONDS] < 30
    assert time.time() - 3600 < found[families.PROBE_LAST_SUCCESS] <= time.time()
    wait_until(lambda: len(system.json("messages")["messages"]) <= 1)  # one probe may be on its way
    system.unlink("probe@example.com", "inbox@example.com")
    wait_until(lambda: now()[families.PROBE_SUCCESS] == 0, pause=0.05)
    events = wait_until(lambda: len(found := logged(system.server, "probe_failed", "probe_succeeded")) > 2 and found)
    assert [event["event"] for event in events] == ["probe_failed", "probe_succeeded", "probe_failed"]
    assert [event.get("result") for event in events[:2]] == ["not_an_alias", None]
    assert events[2]["result"] in {"not_an_alias", "late"}  # a probe may have been on its way
    log = system.server.log.read_text(encoding="utf-8")
    assert "The address in --probe-alias is not an alias." in log
    assert "@" not in log
