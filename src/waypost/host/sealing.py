"""Makes access keys, and seals (encrypts) their secrets, so that the database alone does not reveal the secrets."""

import hmac
import secrets
import string
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from waypost.domain import representation
from waypost.domain.iam import policies
from waypost.domain.iam.access_keys import AccessKey, digest_of_session_token

_NONCE_BYTES = 12
_ID_BYTES = 8
_MARK = b"\0WK1"
"""The beginning of a sealed secret that names its key. After it come the id of the key, the nonce and the ciphertext.

Secrets that were sealed before the first rotation of the master key have only the nonce and the ciphertext, so that
version 0.1.0 can read them too.
"""

_LETTERS = string.ascii_letters + string.digits
_ID_LETTERS = string.ascii_uppercase + "234567"


_UNRELATED = (
    "The previous master key (master.key.previous or WAYPOST_MASTER_KEY_PREVIOUS) has nothing to do with this "
    "database: its secrets are sealed with the present master key, and no rotation has begun. If the two keys were "
    "exchanged, exchange them again. Otherwise, remove the previous one."
)


class SealBroken(Exception):
    """A secret cannot be unsealed, because it was sealed with another master key or was changed afterwards, or because
    the previous master key has nothing to do with the database.
    """


class SealKeys(Struct, frozen=True):
    """The keys that seal secrets, each derived from a master key. They have 32 bytes."""

    newest: bytes
    previous: bytes | None = None
    """The key before, during a rotation of the master key; otherwise None."""

    def __repr__(self) -> str:
        """Return the fields without the secrets."""
        return representation.without(self, "newest", "previous")

    @property
    def oldest(self) -> bytes:
        """The previous key during a rotation; otherwise the newest key."""
        return self.previous or self.newest


class Keyring:
    """Seals and unseals secrets with AES-256-GCM.

    Each sealed secret is bound to the access key or route that it belongs to, so that two secrets cannot be swapped.
    During a rotation of the master key, secrets that were sealed with either key can be read. The database says which
    key seals new secrets.
    """

    def __init__(self, keys: bytes | SealKeys, *, reread: Callable[[], SealKeys] | None = None) -> None:
        """A single key is the newest one. `reread` returns the keys as they are now, if they can change while the
        process runs. It is called for a secret that no known key can read.
        """
        self._keys = SealKeys(keys) if isinstance(keys, bytes) else keys
        self._reread = reread

    @property
    def newest_id(self) -> bytes:
        """The id of the newest key."""
        return _id_of(self._keys.newest)

    def reread(self) -> None:
        """Use the keys as they are now."""
        if self._reread:
            self._keys = self._reread()

    def seal(self, secret: str, of: str, *, key_id: bytes = b"") -> bytes:
        """Return the sealed form of a secret, which may be written to disk.

        `of` identifies the access key or route that the secret belongs to. `key_id` is the id of the key that seals new
        secrets; empty before the first rotation. Raises `SealBroken` if the key is not known.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        if not key_id:
            return nonce + AESGCM(self._keys.oldest).encrypt(nonce, secret.encode(), of.encode())
        key = self._key(key_id)
        if key is None:
            raise SealBroken(
                "New secrets are sealed with a master key that this server does not have. Copy master.key from the "
                "machine on which the key was rotated, or set WAYPOST_MASTER_KEY to the new key."
            )
        return _MARK + key_id + nonce + AESGCM(key).encrypt(nonce, secret.encode(), of.encode())

    def unseal(self, sealed: bytes, of: str) -> str:
        """Return the secret from its sealed form. Raises `SealBroken`.

        `of` must be the value that was passed to `seal`.
        """
        found = self._opened(sealed, of)
        if found is None and self._reread:
            self.reread()
            found = self._opened(sealed, of)
        if found is None:
            raise SealBroken(
                f"The secrets in this database ({of}) were sealed with another master key. Start Waypost with the "
                "master.key or the WAYPOST_MASTER_KEY that this database was created with, or that it was rotated to."
            )
        return found

    def is_newest(self, sealed: bytes) -> bool:
        """Return whether a secret was sealed with the newest key, and names it."""
        return sealed.startswith(_MARK + self.newest_id)

    def _key(self, key_id: bytes) -> bytes | None:
        if not any(_id_of(key) == key_id for key in self._known):
            self.reread()
        return next((key for key in self._known if _id_of(key) == key_id), None)

    @property
    def _known(self) -> list[bytes]:
        return [self._keys.newest, *([self._keys.previous] if self._keys.previous else [])]

    def _opened(self, sealed: bytes, of: str) -> str | None:
        """Return a secret, or None if no known key can unseal it. Raises `SealBroken` if the previous key is no key of
        this database.
        """
        for key in self._known:
            beginning = _MARK + _id_of(key)
            # A secret without the id of its key can begin with any bytes, also with these.
            possible = [sealed.removeprefix(beginning), sealed] if sealed.startswith(beginning) else [sealed]
            for octets in possible:
                try:
                    nonce, encrypted = octets[:_NONCE_BYTES], octets[_NONCE_BYTES:]
                    found = AESGCM(key).decrypt(nonce, encrypted, of.encode()).decode()
                except (InvalidTag, ValueError):
                    continue
                if octets is sealed and self._keys.previous and key == self._keys.newest:
                    # A newer key never seals a secret without its id. So new secrets, which have no id before the first
                    # rotation, would be sealed with the previous key, and be lost with it.
                    raise SealBroken(_UNRELATED)
                return found
        return None


@lru_cache(maxsize=16)
def _id_of(key: bytes) -> bytes:
    """Return the id of a key, from which the key cannot be computed."""
    return hmac.digest(key, b"the id of a key that seals secrets", "sha256")[:_ID_BYTES]


def new_access_key(
    *,
    account: str,
    user_name: str,
    now: datetime,
    policy: str | None = None,
    lifetime: timedelta | None = None,
) -> tuple[AccessKey, str | None]:
    """Make an access key. Return the key and its session token.

    Only a key with a lifetime has a session token; for other keys, the token is None. A key without a policy allows
    everything.
    """
    token = _random(_LETTERS, 64) if lifetime else None
    key = AccessKey(
        # AWS uses the same prefixes, so tools that search for leaked keys find this key, too.
        id=("ASIA" if lifetime else "AKIA") + _random(_ID_LETTERS, 16),
        secret=_random(_LETTERS, 40),
        account=account,
        user_name=user_name,
        document=policy or policies.ALLOW_ALL,
        created_at=now,
        expires_at=now + lifetime if lifetime else None,
        session_token_digest=digest_of_session_token(token) if token else None,
    )
    return key, token


def _random(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))
