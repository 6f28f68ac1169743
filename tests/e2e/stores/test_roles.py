"""Servers with different roles share a PostgreSQL database: each does its work, and together they are one server."""

import smtplib
from contextlib import ExitStack

import boto3
import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import MASTER_KEY, end, logged, waypost_process
from tests.kit.stores import postgresql
from waypost import testing
from waypost.cli.outcomes import Exit
from waypost.client.http import Connection
from waypost.host.master_key import MASTER_KEY_VARIABLE

pytestmark = pytest.mark.slow


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """Servers by the names of their directories: one for calls, one for mail with two workers, one for deliveries."""
    monkeypatch.setenv(MASTER_KEY_VARIABLE, MASTER_KEY)
    url = postgresql.new_database()
    with ExitStack() as opened:
        opened.callback(postgresql.drop_database, url)
        found = {}
        for name, *options in (
            ("calls", "--roles", "api,upkeep"),
            ("mail", "--roles", "smtp", "--workers", "2"),
            ("deliveries", "--roles", "delivery", "--metrics", "127.0.0.1:0"),
        ):
            found[name] = testing.Server(tmp_path / name, "--database", url, *options)
            found[name].start()
            opened.callback(end, found[name])
        yield found
    for server in found.values():
        assert not logged(server, "failed", "store_failed")


def test_a_message_is_accepted_by_one_server_delivered_by_another_and_shown_by_a_third(servers):
    calls, mail, deliveries = servers["calls"], servers["mail"], servers["deliveries"]
    assert (calls.run.smtp, mail.run.http, deliveries.run.http, deliveries.run.smtp) == ("", "", "", "")
    connect = boto3.client("connect", **calls.client_arguments)
    instance = connect.list_instances()["InstanceSummaryList"][0]["Id"]
    queue, support = (
        connect.create_email_address(InstanceId=instance, EmailAddress=f"{name}@example.com")["EmailAddressId"]
        for name in ("queue", "support")
    )
    connect.associate_email_address_alias(
        InstanceId=instance, EmailAddressId=queue, AliasConfiguration={"EmailAddressId": support}
    )
    connect.close()
    key = calls.profile.key
    inspection = Connection(calls.run.http, key_id=key.id, secret=key.secret)
    with Sink() as sink:
        inspection.post("routes", {"match": "queue@example.com", "to": sink.to, "keep": True})
        with smtplib.SMTP(*mail.smtp, timeout=PATIENCE) as client:
            client.sendmail("ann@client.example", ["support@example.com"], b"Subject: hello\r\n\r\nHello.\r\n")
        sink.wait_for(1)

    def kinds():
        (message,) = {each["id"] for each in inspection.get("messages")["messages"]}
        return [event["event"] for event in inspection.get(f"messages/{message}")["trace"]]

    wait_until(lambda: kinds().count("delivered") == 2)
    wait_until(lambda: logged(mail, "message_accepted") and logged(deliveries, "delivered"))
    assert not logged(calls, "message_accepted", "delivered")


def test_a_command_that_needs_the_api_names_a_server_without_it(servers):
    mail = servers["mail"]
    for command in (["env"], ["inbox"], ["ready"]):
        done = waypost_process(*command, "--data", mail.data)
        assert done.returncode == Exit.NO_SERVER
        assert f"The server that uses {mail.data} has no HTTP port" in done.stderr
    # With an address for metrics, `waypost ready` works without the role.
    done = waypost_process("ready", "--data", servers["deliveries"].data)
    assert (done.returncode, done.stdout) == (Exit.DONE, "The server is ready.\n")
