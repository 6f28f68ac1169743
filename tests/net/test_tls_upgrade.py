"""Tests of the error that a TLS upgrade reports for a handshake that does not end."""

import asyncio

import pytest

from waypost.net import tls_upgrade
from waypost.net.tls_upgrade import TlsUpgrade


class OpenTransport:
    """A transport that always stays open."""

    def is_closing(self):
        return False


@pytest.mark.parametrize("cancels", [False, True])
def test_a_handshake_that_exceeds_its_time_limit_has_an_error_unless_it_was_cancelled(monkeypatch, cancels):
    """A busy event loop can miss its own time limit. Without an error, the failed handshake was not logged."""

    async def never(*_, **__):
        await asyncio.Event().wait()

    async def scenario():
        monkeypatch.setattr(tls_upgrade, "start_tls", never)
        upgrade = TlsUpgrade(OpenTransport(), loop=asyncio.get_running_loop(), grace=0.001)
        if cancels:
            asyncio.get_running_loop().call_soon(upgrade.cancel)
        made = await upgrade.make(asyncio.Protocol(), None, seconds=3600.0 if cancels else 0.001)
        return made, type(upgrade.error)

    assert asyncio.run(scenario()) == (None, type(None) if cancels else TimeoutError)
