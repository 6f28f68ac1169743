"""Each message that the server accepted with 250 is in the store exactly once after `kill -9`."""

import random
import smtplib
import threading
from collections import Counter

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import ACCEPTED, System

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"
KILLS, SENDERS = 4, 4


def test_a_message_survives_a_kill_right_after_the_reply(new_server):
    new_server.start()
    system = System(new_server)
    alias, primary = system.linked_pair()
    with smtplib.SMTP(*new_server.smtp, local_hostname="client.example") as client:
        client.ehlo()
        client.mail("a@client.example")
        client.rcpt(alias)
        code, text = client.data(HELLO)
        new_server.kill()
        client.close()
    assert code == 250
    system.connect.close()
    new_server.start()
    again = System(new_server)
    for address in (alias, primary):
        assert again.ids_at(address) == [ACCEPTED.fullmatch(text)["id"].decode()]
        assert again.raw(again.ids_at(address)[0], address).endswith(HELLO)
    again.connect.close()
    assert new_server.stop() == 0


def test_kills_under_load_neither_lose_nor_duplicate_messages(new_server):
    survive(new_server, KILLS)


@pytest.mark.long
@pytest.mark.slow
def test_kills_while_deliveries_are_stored_in_parts_leave_each_message_whole(new_server):
    """A message to fifteen aliases has thirty deliveries, which are stored in two more transactions."""
    new_server.start()
    system = System(new_server)
    pairs = [system.linked_pair() for _ in range(15)]
    aliases, addresses = [alias for alias, _ in pairs], [address for pair in pairs for address in pair]
    system.connect.close()
    answered: list[str] = []
    for _ in range(2 * KILLS):
        kill_under_load(new_server, aliases, answered)
        new_server.start()
    system = System(new_server)

    def inboxes():
        return {address: Counter(system.all_ids_at(address)) for address in addresses}

    wait_until(lambda: len({frozenset(found) for found in inboxes().values()}) == 1)
    for found in inboxes().values():
        assert set(answered) <= set(found)
        assert set(found.values()) == {1}
    system.connect.close()
    assert new_server.stop() == 0


def survive(new_server, kills):
    """Kill a server under load repeatedly, and check that no accepted message is lost or duplicated.

    Return the number of accepted messages.
    """
    new_server.start()
    system = System(new_server)
    alias, primary = system.linked_pair()
    system.connect.close()
    answered: list[str] = []
    for _ in range(kills):
        kill_under_load(new_server, [alias], answered)
        new_server.start()
    system = System(new_server)
    for address in (alias, primary):
        found = Counter(system.all_ids_at(address))
        assert not set(answered) - set(found)
        assert set(found.values()) == {1}
    # A message that was on disk when the server was killed before its reply may be there. Then both inboxes have it.
    assert set(system.all_ids_at(alias)) == set(system.all_ids_at(primary))
    system.connect.close()
    assert new_server.stop() == 0
    return len(answered)


def kill_under_load(server, recipients, answered):
    """Send from several clients until the server has accepted a few messages, then kill the server."""
    of_each = (server.smtp, recipients, answered)
    senders = [threading.Thread(target=send_until_killed, args=of_each) for _ in range(SENDERS)]
    before, enough = len(answered), random.randint(1, 40)
    for sender in senders:
        sender.start()
    try:
        wait_until(lambda: len(answered) >= before + enough, pause=0.0005)
    finally:
        server.kill()
        for sender in senders:
            sender.join()


def send_until_killed(address, recipients, answered):
    """Send one message after the other, and append the id of each accepted message to `answered`."""
    try:
        with smtplib.SMTP(*address, local_hostname="client.example", timeout=PATIENCE) as client:
            client.ehlo()
            while True:
                client.mail("a@client.example")
                for recipient in recipients:
                    client.rcpt(recipient)
                code, text = client.data(HELLO)
                assert code == 250
                answered.append(ACCEPTED.fullmatch(text)["id"].decode())
    except (OSError, smtplib.SMTPException):
        return
