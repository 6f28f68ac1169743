"""A transaction's queries for access keys, whose secrets are stored encrypted."""

from datetime import datetime
from functools import lru_cache, partial

from waypost.domain.iam.access_keys import AccessKey
from waypost.store.common import rows
from waypost.store.common.statements import Seal
from waypost.store.common.transaction.seals import SealQueries
from waypost.store.sql import kinds


class AccessKeyQueries(SealQueries):
    """The part of `Transaction` that handles access keys. The methods are documented in `app/ports/access_keys.py`."""

    def __init__(self, seal: Seal) -> None:
        super().__init__(seal)
        # Every API call reads its access key, but the key's row has rarely changed since the last call.
        self._access_key = lru_cache(maxsize=1024)(partial(rows.access_key, unseal=seal.unseal))

    def access_key(self, access_key_id: str) -> AccessKey | None:
        row = self._one("access_key", access_key_id)
        return self._access_key(row) if row else None

    def access_keys(self) -> list[AccessKey]:
        return [self._access_key(row) for row in self._all("access_keys")]

    def add_access_key(self, key: AccessKey) -> None:
        self._run("add_access_key", *rows.of_access_key(key, self._sealed))

    def activate_access_key(self, access_key_id: str, *, active: bool) -> None:
        self._run("activate_access_key", access_key_id, active)

    def remove_access_keys_expired(self, *, before: datetime) -> None:
        self._run("remove_access_keys_expired", kinds.to_milliseconds(before))

    def remove_access_key(self, access_key_id: str) -> None:
        self._run("remove_access_key", access_key_id)
