"""`waypost purge` deletes old mail, with or without a running server; a dry run only lists the mail."""

import asyncio
import contextlib
import json
import os
import sys

import pytest

from tests.kit.values import TENANT
from tests.store.contract.mail.test_retention import DAY, a_delivery
from waypost import cli
from waypost.domain.mail import messages
from waypost.domain.mail.messages import Envelope, Message
from waypost.host import clock
from waypost.host.data_directory import DataDirectory
from waypost.server import opening

RULES = '[[retention]]\nmatch = "keep@example.com"\nage = "3650d"\n\n[[retention]]\nmatch = "*"\nage = "30d"\n'


class Purging:
    """Runs `waypost purge` on one data directory, in this process, which is faster than a subprocess."""

    def __init__(self, directory, capsys, monkeypatch):
        self.data, self.config = directory / "data", directory / "waypost.toml"
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def run(self, *arguments):
        """Run a command, and return its exit code, its output, and its error output."""
        umask = os.umask(0o022)
        with self._monkeypatch.context() as patch, contextlib.ExitStack() as stack:
            patch.setattr(sys, "argv", ["waypost", *map(str, arguments), "--data", str(self.data)])
            stack.callback(os.umask, umask)
            ended = stack.enter_context(pytest.raises(SystemExit))
            cli.main()
        printed = self._capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    def __call__(self, *arguments):
        """Run a purge that must succeed, and return its output."""
        code, out, err = self.run("purge", "--config", self.config, *arguments)
        assert (code, err) == (0, "")
        return out

    def keep(self, name, ago):
        """Store a message for the local part `name` that arrived `ago` days ago."""
        at = clock.now() - ago * DAY
        message_id = messages.new_id(at, 0, os.urandom(8))
        envelope = Envelope(sender="", recipients=(name,), helo="h", peer="192.0.2.1", protocol="ESMTP")
        message = Message(id=message_id, envelope=envelope, received_at=at, size=2_000, subject="")
        delivery = a_delivery(message_id, name)
        asyncio.run(
            opening.administer(
                DataDirectory(self.data), lambda tx: tx.add_message(message, b"x" * 2_000, [delivery], []), make=True
            )
        )


@pytest.fixture
def purging(tmp_path, capsys, monkeypatch):
    made = Purging(tmp_path, capsys, monkeypatch)
    made.config.write_text(RULES)
    for name, ago in [("a", 1), ("a", 31), ("a", 40), ("b", 60), ("keep", 900)]:
        made.keep(name, ago)
    return made


PURGED = f"""\
a@example.com  (account {TENANT.account})  2 deliveries with 4,000 bytes
b@example.com  (account {TENANT.account})  1 delivery with 2,000 bytes
"""


def test_purge_lists_and_deletes_the_mail_that_is_too_old(purging):
    assert purging("--dry-run") == f"{PURGED}Total that would be deleted: 3 deliveries with 6,000 bytes.\n"
    assert purging() == f"{PURGED}Deleted in total: 3 deliveries with 6,000 bytes.\n"
    assert purging() == "No mail exceeds the limits in the retention rules.\n"


def test_purge_prints_json_for_programs(purging):
    found = json.loads(purging("--dry-run", "--json"))
    assert found == {
        "dry_run": True,
        "purged": [
            {"account": TENANT.account, "address": "a@example.com", "deliveries": 2, "octets": 4_000},
            {"account": TENANT.account, "address": "b@example.com", "deliveries": 1, "octets": 2_000},
        ],
    }
    assert json.loads(purging("--json")) == found | {"dry_run": False}
    assert json.loads(purging("--json")) == {"dry_run": False, "purged": []}


def test_purge_with_a_settings_file_without_rules_is_refused(purging):
    purging.config.write_text("")
    code, _, err = purging.run("purge", "--config", purging.config)
    assert code == 1
    assert err == (
        f"waypost: All mail is kept: {purging.config} has no [[retention]] table. Use --config to name a settings "
        "file with [[retention]] tables.\n"
    )


def test_purge_without_a_settings_file_is_refused(purging):
    code, out, err = purging.run("purge")
    assert (code, out) == (1, "")
    assert err == (
        "waypost: All mail is kept: no settings file was given. Use --config to name a settings file with "
        "[[retention]] tables.\n"
    )


def test_purge_without_a_data_directory_is_refused_and_creates_none(purging, tmp_path):
    purging.data = tmp_path / "elsewhere"
    code, out, err = purging.run("purge", "--config", purging.config)
    assert (code, out) == (1, "")
    assert err.startswith(f"waypost: There is no Waypost data in {purging.data}.")
    assert not purging.data.exists()
