"""Trusted networks on a real server: only senders in these networks get notices of failed deliveries."""

import pytest

from tests.kit.servers.failing_deliveries import FailingSystem
from waypost import testing

SETTINGS = """
[[route]]
match = "*@never.example"
to = "smtp://127.0.0.1:1"
fault = "permfail"
"""
UNPROVEN = "nothing proves that the message is from its sender"


@pytest.mark.parametrize("trusted", ["", "192.0.2.0/24", "127.0.0.0/8,::1"])
def test_a_sender_on_loopback_gets_a_notice_only_if_a_setting_names_its_network(tmp_path, trusted):
    file = tmp_path / "waypost.toml"
    file.write_text(SETTINGS)
    with testing.server("--config", str(file), "--clock", "virtual", "--trusted-networks", trusted) as server:
        system = FailingSystem(server)
        sender, dead = system.new_address("sender"), system.make("never.example")
        message_id = system.deliver(b"Subject: hello\r\n\r\nHello.\r\n", dead, sender=sender)
        system.settle()
        assert system.dead_ids(dead)
        reasons = [event.get("because") for event in system.json(f"messages/{message_id}")["trace"]]
        is_trusted = trusted.startswith("127")
        assert (UNPROVEN in reasons) is not is_trusted
        assert [message["reason"] for message in system.inbox(sender)] == (["notice"] if is_trusted else [])
        system.connect.close()
