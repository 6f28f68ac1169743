"""A plugin for pytest: every server that a test starts keeps its data in PostgreSQL (`make postgresql`)."""

from tests.kit.skips import skip_by_name
from tests.kit.stores import postgresql
from waypost.testing import process

ABOUT_THE_FILE = "the test is about the file waypost.sqlite3"
MADE_BEFORE = "the test creates the data directory, and thereby a SQLite file, before the server starts"

NOT_HERE = {
    "test_only_the_owner_can_read_the_files_with_secrets_and_mail": ABOUT_THE_FILE,
    "test_the_server_makes_readable_files_private_at_its_start": ABOUT_THE_FILE,
    "test_the_database_contains_no_unencrypted_secret": ABOUT_THE_FILE,
    "test_dsn_parameters_and_binary_mail_are_stored_unchanged": ABOUT_THE_FILE,
    "test_the_pieces_of_a_large_message_are_purged_after_a_kill_during_its_reception": ABOUT_THE_FILE,
    "test_expired_client_tokens_are_deleted_when_the_server_starts": MADE_BEFORE,
    "test_the_credentials_file_has_the_root_key_of_the_owner_s_account": MADE_BEFORE,
    "test_a_key_created_before_the_first_start_does_not_prevent_the_import_of_old_keys": MADE_BEFORE,
    "test_keys_of_an_old_credentials_file_are_imported_once": (
        "the test creates a database of a version that did not support PostgreSQL"
    ),
}
"""Tests that do not apply to PostgreSQL, each with the reason."""

_make = process.Server.__init__


def _on_postgresql(self, data, *options, **more):
    if "--database" not in options and not (data / "database").exists():
        options = (*options, "--database", postgresql.new_database())
    _make(self, data, *options, **more)


process.Server.__init__ = _on_postgresql


def pytest_collection_modifyitems(items):
    skip_by_name(items, NOT_HERE)
