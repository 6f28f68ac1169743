"""A server for tests forgets everything that was made since its first start, so that each test begins with nothing.

Only a server whose setting `testing` is on can do this. Such a server uses only a database that a server for tests has
made, so that nobody's mail is deleted by mistake.
"""

from datetime import datetime

from waypost.app import ports
from waypost.domain import errors

_MADE_FOR_TESTS = "made for tests"
"""The mark of a database that a server for tests has made."""


def refuse_other_data(tx: ports.WriteTx) -> None:
    """Mark a new database as made for tests. Raises `errors.Conflict` if another server has made the database."""
    if tx.first_time(_MADE_FOR_TESTS) and tx.regions():
        raise errors.Conflict(
            "--testing yes needs a new data directory, because a server for tests can delete everything in it. This "
            "one has the data of a server that was started without --testing yes. Choose another directory with "
            "--data, or start the server without --testing yes."
        )


def forget_everything(tx: ports.WriteTx, *, instance_id: str, access_key_id: str, now: datetime) -> None:
    """Forget everything except an instance and an access key, and the sessions of the console. `now` is the real
    time.
    """
    tx.forget_everything(instance_id=instance_id, access_key_id=access_key_id, now=now)
