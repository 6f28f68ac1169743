"""Messages to systemd, received by a real socket."""

import socket
import time

import pytest

from waypost.host import systemd


@pytest.fixture(params=["file", "abstract"])
def receiver(request, tmp_path, monkeypatch):
    address = str(tmp_path / "notify") if request.param == "file" else f"@waypost-test-{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield receiver


def test_a_message_is_one_datagram(receiver):
    systemd.notify(systemd.READY)
    systemd.notify(systemd.STOPPING)
    assert receiver.recv(100) == b"READY=1"
    assert receiver.recv(100) == b"STOPPING=1"


def test_a_reload_has_its_time_on_the_monotonic_clock(receiver):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    systemd.notify(systemd.reloading())
    first, second = receiver.recv(100).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before // 1000 <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("address", ["", "/missing/socket", "vsock:1:2", "@waypost-nobody-listens"])
def test_without_systemd_nothing_happens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.notify(systemd.READY)


def test_a_receiver_that_does_not_read_does_not_delay_the_server(receiver):
    for _ in range(2000):
        systemd.notify(systemd.READY)
