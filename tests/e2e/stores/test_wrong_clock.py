"""The clock of a server is set forward and back: mail is still accepted and delivered, and the operator is told."""

from contextlib import ExitStack

import botocore.exceptions
import pytest

from tests.kit.metrics import scrape
from tests.kit.patience import wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.false_clock import FalseClock, needs_faketime
from tests.kit.servers.running import System, end, logged, restart
from tests.kit.stores import postgresql
from waypost import testing
from waypost.client.http import Connection
from waypost.observe.metrics import families

pytestmark = [pytest.mark.slow, pytest.mark.long, needs_faketime]

HOUR = 3600
HELLO = b"Subject: hello\r\n\r\nHello.\r\n"


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_mail_arrives_while_the_clock_is_an_hour_ahead_or_behind_and_calls_are_refused(tmp_path, store):
    clock = FalseClock(tmp_path)
    with ExitStack() as opened:
        options = ["--metrics", "127.0.0.1:0"]
        if store == "postgresql":
            options += ["--database", postgresql.new_database()]
            opened.callback(postgresql.drop_database, options[-1])
        server = testing.Server(tmp_path / "data", *options)
        with clock.applies():
            restart(server)
        opened.callback(end, server)
        sink = opened.enter_context(Sink())
        system = System(server)
        opened.callback(system.connect.close)
        (metrics,) = wait_until(
            lambda: [line["address"] for line in logged(server, "listening") if line["edge"] == "metrics"]
        )
        alias, primary = system.linked_pair()
        key = server.profile.key
        inspection = Connection(server.run.http, key_id=key.id, secret=key.secret)
        inspection.post("routes", {"match": primary, "to": sink.to, "keep": True})

        for count, seconds in enumerate((HOUR, -HOUR, 0), start=1):
            clock.set(seconds)
            message_id = system.deliver(HELLO, alias)
            assert len(sink.wait_for(count)) == count
            assert message_id in system.ids_at(alias)
            assert message_id in system.ids_at(primary)
            if seconds:
                with pytest.raises(botocore.exceptions.ClientError, match="InvalidSignatureException"):
                    system.connect.list_instances()
            else:
                assert system.connect.list_instances()["InstanceSummaryList"]
            expected = seconds if store == "postgresql" else 0
            wait_until(lambda: abs(skew(metrics) - expected) < HOUR / 2, pause=0.2)  # noqa: B023 - ends in this round

        told = [
            (line["event"], round(line["ahead"] / HOUR)) for line in logged(server, "clock_differs", "clock_agrees")
        ]
        assert told == ([("clock_differs", 1), ("clock_agrees", 0)] if store == "postgresql" else [])
        assert not logged(server, "failed", "store_failed", "lease_lost")


def skew(metrics):
    return scrape(f"http://{metrics}")[families.CLOCK_SKEW]
