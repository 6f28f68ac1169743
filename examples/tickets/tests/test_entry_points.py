"""The entry points, with a real Connect API. Whether they work is seen by mail."""

import smtplib
import sys

import pytest

from tickets.__main__ import main
from tickets.entry_points import Refused

PUBLIC, QUEUE = "support@lamps.example", "lamps@tickets.example"


def test_mail_for_a_public_address_arrives_at_its_queue(waypost, entry_points):
    entry_points.open(PUBLIC, QUEUE)
    waypost.send(to=PUBLIC, subject="My lamp is dark")
    (mail,) = waypost.inbox(QUEUE)
    assert (mail.subject, mail.via) == ("My lamp is dark", PUBLIC)


def test_the_public_address_keeps_its_mail_too(waypost, entry_points):
    entry_points.open(PUBLIC, QUEUE)
    waypost.send(to=PUBLIC)
    assert [mail.reason for mail in waypost.inbox(PUBLIC)] == ["direct"]


def test_an_entry_point_has_a_name(waypost_client, waypost, entry_points):
    entry_points.open(PUBLIC, QUEUE, name="Lamps")
    found = waypost_client.search_email_addresses(InstanceId=waypost.instance_id)["EmailAddresses"]
    assert [address["DisplayName"] for address in found] == ["Lamps", "Lamps"]


def test_an_entry_point_can_be_opened_again(waypost, entry_points):
    entry_points.open(PUBLIC, QUEUE)
    entry_points.open(PUBLIC, QUEUE)
    waypost.send(to=PUBLIC)
    assert len(waypost.inbox(QUEUE)) == 1


def test_letter_case_does_not_matter(entry_points):
    entry_points.open(PUBLIC, QUEUE)
    entry_points.open(PUBLIC.upper(), QUEUE.title())
    assert entry_points.queues() == {PUBLIC: QUEUE}


def test_existing_email_addresses_are_used(waypost, entry_points):
    queue = waypost.address(QUEUE, DisplayName="The lamp team")
    entry_points.open(PUBLIC, QUEUE)
    assert entry_points.queues() == {PUBLIC: queue}


def test_a_queue_has_one_public_address(waypost, entry_points):
    entry_points.open(PUBLIC, QUEUE)
    with pytest.raises(Refused):
        entry_points.open("help@lamps.example", QUEUE)
    assert entry_points.queues() == {PUBLIC: QUEUE}


def test_a_public_address_has_one_queue(waypost, entry_points):
    entry_points.open(PUBLIC, QUEUE)
    with pytest.raises(Refused):
        entry_points.open(PUBLIC, "bulbs@tickets.example")
    waypost.send(to=PUBLIC)
    assert (len(waypost.inbox(QUEUE)), waypost.inbox("bulbs@tickets.example")) == (1, [])


def test_a_queue_cannot_be_a_public_address(entry_points):
    entry_points.open(PUBLIC, QUEUE)
    with pytest.raises(Refused):
        entry_points.open(QUEUE, "all@tickets.example")


def test_a_wrong_email_address_is_refused(entry_points):
    with pytest.raises(Refused):
        entry_points.open("not an address", QUEUE)
    assert entry_points.queues() == {}


def test_a_closed_entry_point_refuses_mail(waypost, entry_points):
    entry_points.open(PUBLIC, QUEUE)
    waypost.send(to=PUBLIC, subject="Before")
    entry_points.close(PUBLIC)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        waypost.send(to=PUBLIC, subject="After")
    assert [mail.subject for mail in waypost.inbox(QUEUE)] == ["Before"]


def test_a_closed_entry_point_can_be_opened_for_another_queue(waypost, entry_points):
    entry_points.open(PUBLIC, QUEUE)
    entry_points.close(PUBLIC)
    entry_points.open(PUBLIC, "bulbs@tickets.example")
    waypost.send(to=PUBLIC)
    assert len(waypost.inbox("bulbs@tickets.example")) == 1


def test_an_entry_point_that_does_not_exist_cannot_be_closed(entry_points):
    with pytest.raises(Refused, match=r"There is no entry point support@lamps\.example"):
        entry_points.close(PUBLIC)


def test_the_command_line_needs_only_the_environment(waypost_environment, monkeypatch, capsys):
    monkeypatch.setenv("CONNECT_INSTANCE_ID", waypost_environment.instance_id)

    def tickets(*words):
        monkeypatch.setattr(sys, "argv", ["tickets", *words])
        main()
        return capsys.readouterr().out

    assert tickets("open", PUBLIC, QUEUE) == ""
    assert tickets("list") == f"{PUBLIC} -> {QUEUE}\n"
