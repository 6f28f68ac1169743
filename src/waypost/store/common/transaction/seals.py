"""A transaction's queries for sealed secrets: which key seals new secrets, and the rotation of that key."""

import hashlib

from waypost.store.common import rows
from waypost.store.common.statements import Statements

_LOCK = "seal"
"""The lock of all transactions that seal secrets, so that none of them uses a key that is being replaced."""

_SEAL_KEY = "seal key"
"""The mark with the id of the key that seals new secrets. It does not exist before the first rotation."""

_SEAL_CHECK = "seal check"

_DEPLOYMENT_ID = "deployment id"
"""The mark with the id of the deployment. It does not exist before the first rotation."""

MAIL_SECRETS = "mail secrets"

_SEALED_MARKS = (_SEAL_CHECK, MAIL_SECRETS)


class SealQueries(Statements):
    """The part of `Transaction` that seals secrets. The methods are documented in `app/ports/seals.py`."""

    def check_seal(self) -> None:
        """Check that the secrets in this database were encrypted with a key of this deployment. If they were encrypted
        with another key, `unseal` raises an exception.

        In a new database, store a sealed value for later checks.
        """
        self._all("add_mark", _SEAL_CHECK, self._seal.seal("right", _SEAL_CHECK))
        self.refuse_other_seal()

    def refuse_other_seal(self) -> None:
        """Check the same as `check_seal`, without storing anything. A new database passes the check."""
        for (sealed,) in self._all("mark", _SEAL_CHECK):
            self._seal.unseal(sealed, _SEAL_CHECK)

    def deployment_id(self) -> str:
        """Return an id that no other deployment has: a digest of the first value that `check_seal` has stored. All
        copies of this database have the same id, also after a rotation of the key.
        """
        if row := self._one("mark", _DEPLOYMENT_ID):
            return bytes(row[0]).decode()
        sealed = b"".join(bytes(value) for (value,) in self._all("mark", _SEAL_CHECK))
        return hashlib.sha256(sealed).hexdigest()

    def begin_reseal(self) -> None:
        self._run("hold", _LOCK)
        self._all("add_mark", _DEPLOYMENT_ID, self.deployment_id().encode())
        self._run("put_mark", _SEAL_KEY, self._seal.newest_id)
        for name in _SEALED_MARKS:
            row = self._one("mark", name)
            if row and not self._seal.is_newest(bytes(row[0])):
                self._run("put_mark", name, self._resealed(row[0], name))

    def reseal_access_keys(self, *, after: str, limit: int) -> tuple[int, str | None]:
        self._run("hold", _LOCK)
        found = self._all("sealed_access_keys", after, limit)
        changed = [(key_id, self._resealed(sealed, key_id)) for key_id, sealed in found if self._is_old(sealed)]
        self._run_each("reseal_access_key", changed)
        return len(changed), found[-1][0] if len(found) == limit else None

    def mail_secrets(self) -> str | None:
        row = self._one("mark", MAIL_SECRETS)
        return self._seal.unseal(bytes(row[0]), MAIL_SECRETS) if row else None

    def put_mail_secrets(self, secrets: str) -> None:
        self._run("put_mark", MAIL_SECRETS, self._sealed(secrets, MAIL_SECRETS))

    def sealed_with_other_keys(self) -> int:
        found = [sealed for name in _SEALED_MARKS for (sealed,) in self._all("mark", name)]
        found += [sealed for _, sealed in self._all("sealed_access_keys", "", _MOST)]
        found += [rows.sealed_of_route(row[1:]) for row in self._all("routes") if row[1]]
        return sum(map(self._is_old, found))

    def _is_old(self, sealed: bytes) -> bool:
        return not self._seal.is_newest(bytes(sealed))

    def _sealed(self, secret: str, of: str) -> bytes:
        """Seal a new secret with the key that seals new secrets now."""
        self._run("hold", _LOCK)
        row = self._one("mark", _SEAL_KEY)
        return self._seal.seal(secret, of, key_id=bytes(row[0]) if row else b"")

    def _resealed(self, sealed: bytes, of: str) -> bytes:
        return self._seal.seal(self._seal.unseal(bytes(sealed), of), of, key_id=self._seal.newest_id)


_MOST = 1_000_000
"""The maximum number of access keys that are counted."""
