"""The inspection API: its authentication, and its errors for invalid requests."""

import itertools
import time

import pytest

from tests.kit.servers import running as own_system
from tests.kit.servers.running import System, fetch
from waypost.testing import server as waypost_server

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"


@pytest.mark.parametrize("path", ["instance", "messages", "messages/x", "messages/x/raw", "explain"])
@pytest.mark.parametrize("key", [(), ("AKIAUNKNOWN", "secret"), ("", "")], ids=["no key", "unknown", "empty"])
def test_a_request_without_a_valid_key_is_refused(system, path, key):
    answer = system.get(path, key=key, address="support@example.com")
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "HTTP Basic" in answer.json()["error"]


@pytest.mark.parametrize("spoil", [str.lower, str.swapcase, lambda secret: secret[:-1], lambda _: "", lambda _: "ü"])
def test_only_the_exact_secret_is_accepted(system, spoil):
    key = system.server.profile.key
    assert system.get("instance", key=(key.id, spoil(key.secret))).status == 401
    assert system.get("instance", key=(key.id, key.secret)).status == 200


@pytest.mark.parametrize(
    "shown", ["Basic", "Basic ?", "Basic /w==", "Basic \xff", "Bearer x", "basic Og==", "Basic eA=="]
)
def test_malformed_credentials_are_refused(system, shown):
    assert fetch(f"{system.server.url}/_waypost/instance", {"Authorization": shown}).status == 401


def test_the_health_page_needs_no_key(system):
    answer = system.get("health", key=())
    assert (answer.status, answer.json()["status"]) == (200, "ok")


def test_the_instance_page_returns_an_instance_of_the_region(system):
    assert system.json("instance", region="us-east-1") == {"id": system.instance_id}
    assert system.json("instance", region="eu-west-1") == {"id": None}


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("messages", {"address": ""}),
        ("messages", {"address": "support"}),
        ("messages", {"address": "a b@example.com"}),
        ("messages", {"reason": "spam"}),
        ("messages", {"status": "delivered"}),
        ("refusals", {"after": "x"}),
        ("search", {}),
        ("search", {"q": "is:spam"}),
        ("search", {"q": "hello", "after": "x"}),
        ("messages/x/raw", {}),
        ("explain", {}),
        ("explain", {"address": "support@-"}),
        *[
            ("messages", {"address": "support@example.com", "limit": limit})
            for limit in ("0", "501", "-1", "1.5", "many", "", "١", "9" * 30, "0000005000", "000000001" + "9" * 30)
        ],
    ],
)
def test_an_invalid_query_is_refused_with_a_message(system, path, query):
    answer = system.get(path, **query)
    assert answer.status == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("path", ["messages/x", "messages/01a205b2-77e9-768b-ae85-598d81456faf"])
def test_an_unknown_message_is_not_found(system, path):
    answer = system.get(path)
    assert answer.status == 404
    assert "No message" in answer.json()["error"]


def test_an_unknown_address_is_not_found(system):
    answer = system.get("messages", address="unknown@example.com")
    assert answer.status == 404
    assert "unknown@example.com" in answer.json()["error"]


def test_an_address_without_mail_has_an_empty_inbox(system):
    assert system.inbox(system.new_address()) == []


def test_a_copy_is_not_found_at_an_address_without_a_delivery(system):
    message_id = system.deliver(HELLO, system.new_address())
    answer = system.get(f"messages/{message_id}/raw", address=system.new_address())
    assert answer.status == 404
    assert message_id in answer.json()["error"]


def test_an_inbox_is_found_by_each_spelling_of_its_address(system):
    address = system.new_address()
    message_id = system.deliver(HELLO, address.upper())
    local, _, domain = address.partition("@")
    for spelling in (address, address.upper(), f'"{local}"@{domain}'):
        assert system.ids_at(spelling) == [message_id]
        assert system.raw(message_id, spelling).endswith(HELLO)
    assert system.inbox(address)[0]["to"] == address.upper()


@pytest.mark.parametrize("path", ["", "nothing", "messages/x/nothing"])
def test_an_unknown_path_is_not_found(system, path):
    answer = system.get(path)
    assert answer.status == 404
    assert "GET /_waypost/messages/{id}, " in answer.json()["error"]
    assert "POST /_waypost/replay" in answer.json()["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_messages_page_accepts_only_get(system, method):
    answer = fetch(f"{system.server.url}/_waypost/messages", method=method)
    assert answer.status == 405
    assert answer.json()["error"]


@pytest.mark.parametrize("path", ["", "nothing", "favicon.ico", "_waypost"])
def test_an_unknown_path_outside_the_inspection_api_gets_a_json_error(system, path):
    answer = fetch(f"{system.server.url}/{path}")
    assert 400 <= answer.status < 500
    assert answer.json()


def test_the_server_does_not_redirect_to_the_host_of_a_request(system):
    answer = fetch(f"{system.server.url}/_waypost/messages/", {"Host": "elsewhere.example"})
    assert answer.status == 404


@pytest.mark.slow
def test_the_server_delays_a_client_that_guesses_secrets(monkeypatch):
    monkeypatch.setattr(own_system, "SOURCES", itertools.repeat("127.0.0.1"))
    with waypost_server() as server:
        system = System(server)
        took = []
        for _ in range(22):
            began = time.monotonic()
            assert system.get("instance", key=(server.profile.key.id, "guess")).status == 401
            took.append(time.monotonic() - began)
        assert sum(took) > 1
        began = time.monotonic()
        assert system.get("instance", region="us-east-1").status == 200
        assert time.monotonic() - began < max(took)
