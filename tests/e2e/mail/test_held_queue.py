"""A server that holds the queue accepts mail and calls, and sends nothing until it is restarted."""

from tests.kit.metrics import scrape
from tests.kit.patience import wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import System, waypost
from waypost.observe.metrics import families

MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"
HELD = "The queue is held: nothing is sent until the server is restarted without --hold-queue.\n"


def test_a_held_queue_is_sent_after_a_restart(new_server, tmp_path):
    offered = []
    with Sink(at_rcpt=lambda recipient: offered.append(recipient) or b"250 2.1.5 ok") as sink:
        (tmp_path / "waypost.toml").write_text(f'[[route]]\nmatch = "*@out.example"\nto = "{sink.to}"\n')
        metrics = ("--metrics", "127.0.0.1:0")
        new_server._options = ("--config", str(tmp_path / "waypost.toml"), *metrics, "--hold-queue", "yes")
        new_server.start()
        system = System(new_server)
        alias, primary = system.linked_pair()
        out = "support@out.example"
        system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=out)
        message_id = system.deliver(MESSAGE, alias, out)
        assert system.ids_at(alias) == system.ids_at(primary) == [message_id]
        found = system.json("queue")
        assert found["is_held"]
        assert [(line["address"], line["attempts"]) for line in found["deliveries"]] == [(out, 0)]
        shown = waypost("queue", "--data", new_server.data)
        assert shown.stdout.startswith(HELD)
        log = new_server.log.read_text(encoding="utf-8")
        assert "The queue is held (--hold-queue yes)." in log
        assert '"event":"queue_held"' in log
        assert scrape(f"http://{new_server.run.metrics}")[families.QUEUE_HELD] == 1
        system.connect.close()
        new_server.stop()
        assert offered == []

        new_server._options = new_server._options[:4]
        new_server.start()
        system = System(new_server)
        (taken,) = sink.wait_for(1)
        assert taken.octets.endswith(MESSAGE)
        wait_until(lambda: not system.json("queue")["deliveries"])
        assert not system.json("queue")["is_held"]
        assert scrape(f"http://{new_server.run.metrics}")[families.QUEUE_HELD] == 0
        assert HELD not in waypost("queue", "--data", new_server.data).stdout
        system.connect.close()
        assert new_server.stop() == 0
