"""A plugin for pytest: every server that a test starts keeps its data in PostgreSQL (`make postgresql`)."""

import pytest

from tests.kit.stores import postgresql
from waypost.testing import process

ABOUT_THE_FILE = "the test is about the file waypost.sqlite3"
MADE_BEFORE = "the test creates the data directory, and thereby a SQLite file, before the server starts"

NOT_HERE = {
    "test_secrets_and_mail_are_for_the_owner_only": ABOUT_THE_FILE,
    "test_what_others_could_read_is_made_private_at_the_start": ABOUT_THE_FILE,
    "test_no_secret_is_in_the_database_in_clear": ABOUT_THE_FILE,
    "test_what_the_sender_wants_to_hear_is_kept_and_binary_mail_is_kept_octet_by_octet": ABOUT_THE_FILE,
    "test_a_kill_in_the_middle_of_a_large_message_leaves_nothing_of_it_and_its_pieces_are_purged": ABOUT_THE_FILE,
    "test_expired_client_tokens_are_deleted_when_the_server_starts": MADE_BEFORE,
    "test_the_owner_s_key_is_the_root_s_and_nobody_else_s": MADE_BEFORE,
    "test_a_key_that_is_made_before_does_not_shut_those_of_before_out": MADE_BEFORE,
    "test_keys_of_before_are_adopted_once": "the test creates a database of a version that did not support PostgreSQL",
}
"""Tests that do not apply to PostgreSQL, each with the reason."""

_make = process.Server.__init__


def _on_postgresql(self, data, *options):
    if "--database" not in options and not (data / "database").exists():
        options = (*options, "--database", postgresql.new_database())
    _make(self, data, *options)


process.Server.__init__ = _on_postgresql


def pytest_collection_modifyitems(items):
    for item in items:
        name = getattr(item, "originalname", item.name)
        if name in NOT_HERE:
            item.add_marker(pytest.mark.skip(reason=NOT_HERE[name]))
