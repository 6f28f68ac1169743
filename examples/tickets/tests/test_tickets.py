"""Mail by SMTP becomes tickets: through the alias, over the route, and by the webhook."""

import json
import smtplib
import urllib.error
import urllib.request

import pytest

QUEUE = "lamps@tickets.example"


@pytest.fixture
def arrive(waypost, support):
    """A function that sends mail to the entry point, and waits until the ticket system has it."""

    def arrive(**parts):
        sent = waypost.send(to=support, sender="ann@home.example", **parts)
        waypost.wait_for(lambda mail: mail.id == sent.id, address=QUEUE, status="delivered")

    return arrive


def test_a_message_becomes_a_ticket(arrive, desk):
    arrive(subject="My lamp is dark", text="Please help.")
    assert desk.tickets() == [
        {
            "number": 1,
            "queue": QUEUE,
            "customer": "ann@home.example",
            "subject": "My lamp is dark",
            "messages": ["Please help."],
            "files": [],
        }
    ]


def test_an_answer_is_a_part_of_its_ticket(arrive, desk):
    arrive(subject="My lamp is dark", text="Please help.")
    arrive(subject="Re: [T-1] My lamp is dark", text="It is bright again.")
    (ticket,) = desk.tickets()
    assert ticket["messages"] == ["Please help.", "It is bright again."]


def test_nobody_answers_the_ticket_of_another_customer(arrive, desk, waypost, support):
    arrive(subject="My lamp is dark")
    waypost.send(to=support, sender="eve@home.example", subject="Re: [T-1] Your lamp")
    waypost.wait_for(address=QUEUE, sender="eve@home.example", status="delivered")
    assert [ticket["customer"] for ticket in desk.tickets()] == ["ann@home.example", "eve@home.example"]


def test_files_arrive_byte_for_byte(arrive, desk):
    photo = bytes(range(256)) * 100
    arrive(subject="A photo", attachments={"lamp.png": photo})
    assert desk.tickets()[0]["files"] == [("lamp.png", photo)]


def test_an_out_of_office_reply_makes_no_ticket(arrive, desk):
    arrive(subject="Away", headers={"Auto-Submitted": "auto-replied"})
    assert desk.tickets() == []


def test_tickets_of_two_queues(arrive, desk, waypost, entry_points):
    entry_points.open("support@bulbs.example", "bulbs@tickets.example")
    arrive(subject="A lamp")
    waypost.send(to="support@bulbs.example", subject="A bulb")
    waypost.wait_for(address="bulbs@tickets.example", status="delivered")
    assert [ticket["subject"] for ticket in desk.tickets("bulbs@tickets.example")] == ["A bulb"]


def test_a_delivery_that_is_repeated_makes_one_ticket(waypost, support, desk, web):
    def loses_the_response(environ, start_response):
        receive(environ, lambda *_: None)
        start_response("503 Service Unavailable", [])
        return []

    receive, web.answering = web.answering, loses_the_response
    waypost.send(to=support, subject="Twice")
    waypost.wait_for(lambda mail: "deferred" in mail.trace.kinds, address=QUEUE)
    web.answering = receive
    waypost.clock.advance("1h")
    waypost.wait_for(address=QUEUE, status="delivered")
    assert [ticket["subject"] for ticket in desk.tickets()] == ["Twice"]


def test_mail_waits_while_the_ticket_system_is_down(waypost, support, desk, web):
    def is_down(environ, start_response):
        start_response("503 Service Unavailable", [])
        return []

    receive, web.answering = web.answering, is_down
    waypost.send(to=support, subject="My lamp is dark")
    waypost.wait_for(lambda mail: "deferred" in mail.trace.kinds, address=QUEUE)
    assert desk.tickets() == []
    web.answering = receive
    waypost.clock.advance("1h")
    waypost.wait_for(address=QUEUE, status="delivered")
    assert [ticket["subject"] for ticket in desk.tickets()] == ["My lamp is dark"]


def test_a_message_that_is_too_large_becomes_a_dead_letter(waypost, support, desk):
    waypost.send(to=support, attachments={"film.mp4": bytes(1_000_000)})
    waypost.wait_for(address=QUEUE, status="dead")
    (letter,) = waypost.dead_letters()
    assert "413" in letter.because
    assert desk.tickets() == []


def test_a_busy_entry_point_is_tried_again_by_the_customer(waypost, arrive, desk, support):
    waypost.fault("rcpt", "defer", recipient=support, times=1)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        waypost.send(to=support)
    arrive(subject="Again")
    assert len(desk.tickets()) == 1


def test_tickets_as_json(arrive, web):
    arrive(subject="A photo", attachments={"lamp.png": b"..."})
    with urllib.request.urlopen(f"{web.url}/tickets") as response:
        (ticket,) = json.load(response)["tickets"]
    assert (ticket["subject"], ticket["files"]) == ("A photo", ["lamp.png"])


@pytest.mark.parametrize("headers", [{}, {"Waypost-Timestamp": "1", "Waypost-Signature": "v1=00"}])
def test_a_webhook_that_waypost_has_not_signed_is_refused(web, desk, headers):
    request = urllib.request.Request(f"{web.url}/mail", data=b"...", headers=headers)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request)
    assert desk.tickets() == []


def test_there_is_no_other_page(web):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{web.url}/other")
