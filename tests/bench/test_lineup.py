"""The benchmark names servers that are missing, and the reasons, and runs without them."""

import lineup
import pytest
from peers import haraka, opensmtpd, peer, postfix, sinks, waypost


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(sinks, "_SMTP_SINK", None)
    monkeypatch.setattr(postfix, "_POSTFIX", None)
    monkeypatch.setattr(haraka, "_PACKAGE", tmp_path / "none")
    monkeypatch.setattr("peers.roots.FETCHED", tmp_path)
    monkeypatch.setattr(waypost, "has_workers", lambda: False)


@pytest.mark.usefixtures("nothing_installed")
def test_each_missing_server_has_a_reason():
    missing = {one.name: one.why_not for one in lineup.entries([1, 2]) if one.why_not}
    assert set(missing) == {
        *("Waypost, SQLite, 2 workers", "Waypost, PostgreSQL, 2 workers", "Postfix", "Exim", "OpenSMTPD", "Haraka"),
        *("asyncio and smtplib", "smtp-sink, in C"),
    }
    assert "apt-get install" in missing["Postfix"]


@pytest.mark.usefixtures("nothing_installed")
def test_without_smtp_sink_there_is_no_path_to_a_next_hop():
    with sinks.next_hops() as hops:
        assert hops is None
        assert set(sinks.domains(hops, peer.INBOX, peer.RELAY, peer.LMTP)) == {peer.INBOX}


def test_servers_that_need_root_say_so(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(postfix, "_POSTFIX", "/usr/sbin/postfix")
    assert "root" in (postfix.why_not() or "")
    assert "root" in (opensmtpd.why_not() or "")
