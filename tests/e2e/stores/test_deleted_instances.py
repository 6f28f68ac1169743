"""A large instance that is deleted is gone at once for calls and mail, and its rows are removed despite kills."""

import smtplib

import botocore.exceptions
import pytest

from tests.kit.patience import wait_until
from tests.kit.servers.running import System
from tests.kit.stores import direct_writes
from tests.kit.values import an_email_address
from waypost.app.directory.instances import REMOVED_AT_ONCE

COUNT = 60 * REMOVED_AT_ONCE
KILLS = 3


@pytest.fixture
def large(new_server):
    """A system, and the id of a second instance of its owner, which has many email addresses."""
    new_server.start()
    system = System(new_server)
    arguments = {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": True}
    instance_id = system.connect.create_instance(InstanceAlias="large", **arguments)["Id"]

    def fill(tx):
        query = f"SELECT account FROM instances WHERE id = '{instance_id}'"
        (account,) = tx.connection.execute(query).fetchone()
        for number in range(COUNT):
            tx.add_email_address(an_email_address(f"e{number}", instance_id, account), {"k": "v"})

    direct_writes.write(new_server.data, fill)
    yield system, instance_id
    system.connect.close()


def test_a_deleted_instance_is_gone_at_once_and_its_rows_are_removed_after_kills(large, new_server):
    system, instance_id = large
    assert _rcpt(new_server, f"e{COUNT - 1}@example.com") == 250
    system.connect.delete_instance(InstanceId=instance_id)
    assert _rcpt(new_server, f"e{COUNT - 1}@example.com") == 550
    assert instance_id not in {one["Id"] for one in system.connect.list_instances()["InstanceSummaryList"]}
    for call, members in (
        (system.connect.describe_instance, {}),
        (system.connect.search_email_addresses, {}),
        (system.connect.delete_instance, {}),
        (system.connect.create_email_address, {"EmailAddress": "new@example.com"}),
    ):
        with pytest.raises(botocore.exceptions.ClientError, match=f"Instance {instance_id} was not found"):
            call(InstanceId=instance_id, **members)
    again = system.connect.create_email_address(InstanceId=system.instance_id, EmailAddress=f"e{COUNT - 1}@example.com")
    assert _rcpt(new_server, f"e{COUNT - 1}@example.com") == 250

    for _ in range(KILLS):  # each new server continues where the killed server stopped
        new_server.kill()
        left = _left(new_server, instance_id)
        assert left % REMOVED_AT_ONCE in {0, REMOVED_AT_ONCE - 1}, "only a part of a step is stored"
        new_server.start()
        wait_until(lambda before=left: not before or _left(new_server, instance_id) < before)
    wait_until(lambda: not _left(new_server, instance_id))
    ids = _rows(new_server, "SELECT id FROM email_addresses")
    assert ids == [(again["EmailAddressId"],)]
    assert ids == _rows(new_server, "SELECT email_address_id FROM search_entries")
    assert _rows(new_server, "SELECT count(*) FROM tags") == [(0,)]
    if (new_server.data / "waypost.sqlite3").exists():  # PostgreSQL always checks them
        assert _rows(new_server, "PRAGMA foreign_key_check") == []
    assert _rcpt(new_server, f"e{COUNT - 1}@example.com") == 250
    assert new_server.stop() == 0


def _left(server, instance_id):
    """Return the number of rows of the instance's email addresses."""
    ((left,),) = _rows(server, f"SELECT count(*) FROM email_addresses WHERE instance_id = '{instance_id}'")
    return left


def _rows(server, query):
    """Return the rows that a query finds in the server's database."""
    return direct_writes.write(server.data, lambda tx: [tuple(row) for row in tx.connection.execute(query).fetchall()])


def _rcpt(server, address):
    """Return the code of the reply to RCPT."""
    with smtplib.SMTP(*server.smtp, local_hostname="client.example") as client:
        client.ehlo()
        client.mail("a@client.example")
        return client.rcpt(address)[0]
