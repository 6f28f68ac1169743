"""`waypost console` and the banner of `waypost serve` have a link that signs in once."""

import re

import pytest

from tests.kit.browser import Browser
from tests.kit.servers.failing_deliveries import Commands
from tests.kit.servers.running import banner, serving
from waypost.server.console_link import console_address

LINK = re.compile(r"http://127\.0\.0\.1:\d+(/console/link/[\w-]{43})")


def test_the_command_prints_a_link_that_signs_in(console, capsys, monkeypatch):
    printed = Commands(console.system.server.data, capsys, monkeypatch)("console", "--print")
    match = LINK.fullmatch(printed.strip())
    browser = console.new_browser()
    assert browser.get(match[1]).status == 303
    assert console.system.server.profile.key.id in browser.get("/keys").text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_banner_has_a_link_if_the_setting_asks_for_it(tmp_path, workers):
    log = tmp_path / "log"
    options = ("--data", tmp_path / "data", "--console-link", "always", "--workers", workers)
    with serving(*options, log=log) as shown:
        match = LINK.search(shown)
        assert Browser(match[0].removesuffix(match[1])).get(match[1]).status == 303
    assert match[1] not in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["never", "terminal"])
def test_the_banner_has_no_link_if_nobody_reads_it(tmp_path, option):
    assert "/console/" not in banner("--data", tmp_path / "data", "--console-link", option)


@pytest.mark.parametrize(
    ("http", "address"),
    [
        ("127.0.0.1:8025", "127.0.0.1:8025"),
        ("127.0.0.7:8025", "127.0.0.7:8025"),
        ("localhost:8025", "localhost:8025"),
        ("[::1]:8025", "[::1]:8025"),
        ("0.0.0.0:8025", "127.0.0.1:8025"),
        ("[::]:8025", "[::1]:8025"),
        ("192.0.2.1:8025", None),
        ("mail.example:8025", None),
        ("", None),
    ],
)
def test_a_link_is_for_a_loopback_address(http, address):
    assert console_address(http) == address
