"""The inspection API: the content of messages, deleting mail, counts, and the stream of changes, on a real server."""

import base64
import http.client
import json
import urllib.parse
import urllib.request

import pytest

from tests.e2e.commands.test_queue_pages import key_with
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import NO_PROXY, Answer, System

MULTIPART = (
    b"From: Ann <ann@client.example>\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/alternative; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nplain words\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n"
    b'<p>rich words</p><script>x()</script><img src="https://far.example/x.png">\r\n--b--\r\n'
)


def delete(system, path, *, key=None, **query):
    profile = system.server.profile
    key = (profile.key.id, profile.key.secret) if key is None else key
    headers = {"Authorization": "Basic " + base64.b64encode(":".join(key).encode()).decode()} if key else {}
    url = f"{system.server.url}/_waypost/{path}?{urllib.parse.urlencode(query)}"
    try:
        response = NO_PROXY.open(urllib.request.Request(url, None, headers, method="DELETE"), timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, found, response.read())


def test_the_parts_the_text_and_the_html_of_a_message_are_shown(late):
    message_id = late.deliver(MULTIPART, late.new_address())
    found = late.json(f"messages/{message_id}/parts")
    assert [part["content_type"] for part in found["parts"]] == ["multipart/alternative", "text/plain", "text/html"]
    assert {"name": "Subject", "value": "Café"} in found["headers"]
    text = late.get(f"messages/{message_id}/text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.body.decode().strip() == "plain words"
    html = late.json(f"messages/{message_id}/html")
    assert "rich words" in html["html"]
    assert "script" not in html["html"]
    assert "far.example" not in html["html"]
    assert html["remote"] == 1
    assert "far.example" in late.json(f"messages/{message_id}/html", part=3, remote="true")["html"]


def test_a_part_is_sent_so_that_no_browser_runs_it(late):
    message_id = late.deliver(MULTIPART, late.new_address())
    page = late.get(f"messages/{message_id}/parts/3")
    assert b"<script>" in page.body
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["content-disposition"] == "attachment"
    assert late.get(f"messages/{message_id}/parts/2").headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("parts/0", {}, 400),
        ("parts/x", {}, 400),
        ("parts/99", {}, 409),
        ("html", {"part": "x"}, 400),
        ("html", {"part": 2}, 409),
        ("html", {"remote": "maybe"}, 400),
    ],
)
def test_an_invalid_request_for_content_is_refused(late, path, query, status):
    message_id = late.deliver(MULTIPART, late.new_address())
    assert late.get(f"messages/{message_id}/{path}", **query).status == status


def test_a_message_without_html_or_without_a_copy_has_none(late):
    message_id = late.deliver(b"Subject: x\r\n\r\nplain\r\n", late.new_address())
    assert late.get(f"messages/{message_id}/html").status == 404
    assert late.get("messages/x/text").status == 404


def test_mail_is_deleted(late):
    address = late.new_address()
    first, second = (late.deliver(MULTIPART, address) for _ in range(2))
    assert delete(late, f"messages/{first}").json() == {"deleted": 1}
    assert late.get(f"messages/{first}").status == 404
    assert late.done("messages/delete", {"ids": [second]}) == {"deleted": 1}
    assert late.inbox(address) == []
    assert delete(late, f"messages/{first}").status == 404
    assert late.post("messages/delete", {"ids": []}).status == 400
    assert late.post("messages/delete", {"ids": ["x"] * 101}).status == 400


def test_queued_mail_is_deleted_only_if_it_is_cancelled(late):
    message_id = late.deliver(MULTIPART, late.make("late.example"))
    assert delete(late, f"messages/{message_id}").status == 409
    assert delete(late, f"messages/{message_id}", cancel="yes").status == 400
    assert late.post("messages/delete", {"ids": [message_id], "cancel": True}).json() == {"deleted": 1}
    assert late.get(f"messages/{message_id}").status == 404


def test_deleting_needs_an_action_of_its_own(late, commands, tmp_path):
    key = key_with(commands, tmp_path, {"Effect": "Allow", "Action": "waypost:Inspect", "Resource": "*"})
    message_id = late.deliver(MULTIPART, late.new_address())
    assert delete(late, f"messages/{message_id}", key=key).status == 403
    assert late.post("messages/delete", {"ids": [message_id]}, key=key).status == 403
    key = key_with(commands, tmp_path, {"Effect": "Allow", "Action": "waypost:DeleteMail", "Resource": "*"})
    assert late.get("events", key=key).status == 403
    assert delete(late, f"messages/{message_id}", key=key).status == 200


def test_mail_is_counted(late):
    alias, primary = late.linked_pair()
    late.deliver(MULTIPART, alias)

    def counted():
        ways = late.json("counts")["ways"]
        return {(way["address"], way["alias"]) for way in ways if alias in {way["address"], way["alias"]}}

    wait_until(lambda: counted() == {(alias, None), (primary, alias)})
    found = late.json("counts")
    assert sum(hour["accepted"] for hour in found["hours"]) > 0
    assert len(found["minutes"]) == 60


class Follower:
    """A client that reads server-sent events."""

    def __init__(self, system, last=None, key=None):
        profile = system.server.profile
        key = key or (profile.key.id, profile.key.secret)
        url = urllib.parse.urlsplit(system.server.url)
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=PATIENCE)
        headers = {"Authorization": "Basic " + base64.b64encode(":".join(key).encode()).decode()}
        if last is not None:
            headers["Last-Event-ID"] = last
        self.connection.request("GET", "/_waypost/events", headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.getheader("content-type").startswith("text/event-stream")

    def next(self):
        """Return the name, the id and the data of the next event."""
        fields = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        return fields["event"], fields["id"], json.loads(fields["data"])

    def wait_for(self, message_id, kind):
        while True:
            event, number, data = self.next()
            if event == "change" and (data["message"], data["kind"]) == (message_id, kind):
                return number, data

    def close(self):
        self.connection.close()
        self.response.close()


def test_the_changes_of_mail_are_streamed_and_can_be_continued(late):
    address = late.make("late.example")
    follower = Follower(late)
    assert follower.next()[0] == "ready"
    message_id = late.deliver(MULTIPART, address)
    number, data = follower.wait_for(message_id, "new")
    assert [one["address"] for one in data["deliveries"]] == [address]
    late.settle()
    _, data = follower.wait_for(message_id, "deferred")
    assert data["delivery"] == data["deliveries"][0]["delivery"]
    follower.close()
    late.post("messages/delete", {"ids": [message_id], "cancel": True})
    again = Follower(late, last=number)
    assert again.next()[:2] == ("ready", number)
    again.wait_for(message_id, "deferred")
    _, data = again.wait_for(message_id, "deleted")
    assert data["deliveries"] == []
    again.close()


def test_a_stream_does_not_begin_with_mail_that_arrived_before_anybody_followed(new_server):
    new_server.start()
    system = System(new_server)
    address = system.new_address()
    for _ in range(3):
        system.deliver(MULTIPART, address)
    follower = Follower(system)
    assert follower.next()[0] == "ready"
    message_id = system.deliver(MULTIPART, address)
    event, _, data = follower.next()
    assert (event, data["message"], data["kind"]) == ("change", message_id, "new")
    follower.close()
    system.connect.close()


def test_a_stream_ends_before_mail_that_its_deactivated_key_may_not_see(late, commands, tmp_path):
    key = key_with(commands, tmp_path, {"Effect": "Allow", "Action": "waypost:Inspect", "Resource": "*"})
    follower, other = Follower(late, key=key), Follower(late)
    assert follower.next()[0] == other.next()[0] == "ready"
    assert commands.run("keys", "deactivate", key[0])[0] == 0
    message_id = late.deliver(MULTIPART, late.new_address())
    other.wait_for(message_id, "new")
    assert message_id not in follower.response.read().decode()
    follower.close()
    other.close()


def test_an_invalid_place_in_the_stream_is_refused(late):
    assert late.get("events", after="x").status == 400
    assert late.get("events", after="9" * 19).status == 400
