"""A bit that flips in the database file of a stopped server: the message is refused, kept, and named."""

import json

import pytest

from tests.kit.patience import wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.places import Place
from tests.kit.servers.running import logged, waypost
from waypost.cli.outcomes import Exit

SETTINGS = """
[[route]]
match = "*@out.example"
to = "{sink}"
"""

MARK = b"these words are in the file once"


@pytest.mark.slow
def test_a_message_with_a_flipped_bit_is_neither_sent_nor_returned_and_verify_names_it(tmp_path, request):
    if request.config.pluginmanager.has_plugin("tests.kit.stores.on_postgresql"):
        pytest.skip("every server keeps its data in PostgreSQL")
    place = Place(tmp_path / "data", "sqlite")
    with Sink() as sink:
        options = ["--config", str(tmp_path / "settings.toml")]
        (tmp_path / "settings.toml").write_text(SETTINGS.format(sink=sink.to))
        with place.running(*options, "--hold-queue", "yes") as system:
            out = "orders@out.example"
            system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=out)
            inbox = system.new_address("inbox")
            sound = system.deliver(b"Subject: sound\r\n\r\nall is well\r\n", out, inbox)
            damaged = system.deliver(b"Subject: hello\r\n\r\n" + MARK + b"\r\n", out, inbox)
        file = place.data / "waypost.sqlite3"
        octets = bytearray(file.read_bytes())
        assert octets.count(MARK) == 1
        octets[octets.index(MARK) + 7] ^= 16
        file.write_bytes(octets)

        checked = waypost("verify", "--json", *place.options)
        assert checked.returncode == Exit.REFUSED
        what = "The bytes of this message are damaged: they are not those that were stored."
        assert json.loads(checked.stdout)["findings"] == [{"id": damaged, "what": what}]

        with place.running(*options) as system:
            server = system.server
            wait_until(lambda: logged(server, "damaged") and logged(server, "delivered"))
            answer = system.get(f"messages/{damaged}/raw", address=inbox)
            assert answer.status == 500
            beginning = f"The stored bytes of message {damaged} are damaged, so they are not returned. "
            assert answer.json()["error"].startswith(beginning)
            assert system.raw(sound, inbox).endswith(b"all is well\r\n")
            assert system.json(f"messages/{damaged}")["trace"][-1]["event"] == "deferred"
        events = logged(server, "damaged")
        assert {event["message_id"] for event in events} == {damaged}
        assert {event["where"] for event in events} == {"delivery", "inspection"}
        assert [taken.recipient for taken in sink.taken] == [out]
        assert sink.taken[0].octets.endswith(b"all is well\r\n")
