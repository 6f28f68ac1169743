"""Forgetting everything that was made since the first start of a server for tests."""

from datetime import datetime
from typing import Protocol


class WriteResetting(Protocol):
    """The method that forgets everything."""

    def forget_everything(self, *, instance_id: str, access_key_id: str, now: datetime) -> None:
        """Delete all mail, email addresses, links, tags, client tokens and routes, and all instances and access keys
        except the given ones.

        Sessions of the console stay, because a person may look at the pages while tests run.
        """
        ...
