"""Tells systemd about the state of the service, by datagrams to the socket that NOTIFY_SOCKET names (sd_notify(3))."""

import os
import socket
import time
from contextlib import suppress

READY = "READY=1"
"""The service has started, or has finished a reload."""

STOPPING = "STOPPING=1"


def reloading() -> str:
    """Return the message that the service has begun a reload. systemd needs the time on the monotonic clock."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def notify(message: str) -> None:
    """Send a message to systemd. Do nothing if systemd has not started this process, or does not receive messages."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        # The name of an abstract socket begins with a NUL character, which the environment cannot contain.
        sender.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        sender.send(message.encode())
