"""Makes access keys, and seals (encrypts) their secrets, so that the database alone does not reveal the secrets."""

import secrets
import string
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from waypost.domain.iam import policies
from waypost.domain.iam.access_keys import AccessKey, digest_of_session_token

_NONCE_BYTES = 12
_LETTERS = string.ascii_letters + string.digits
_ID_LETTERS = string.ascii_uppercase + "234567"


class SealBroken(Exception):
    """A secret cannot be unsealed, because it was sealed with another master key or was changed afterwards."""


class Keyring:
    """Seals and unseals secrets with AES-256-GCM.

    Each sealed secret is bound to the access key or route that it belongs to, so that two secrets cannot be swapped.
    """

    def __init__(self, key: bytes) -> None:
        """`key` must have 32 bytes."""
        self._cipher = AESGCM(key)

    def seal(self, secret: str, of: str) -> bytes:
        """Return the sealed form of a secret, which may be written to disk.

        `of` identifies the access key or route that the secret belongs to.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), of.encode())

    def unseal(self, sealed: bytes, of: str) -> str:
        """Return the secret from its sealed form. Raises `SealBroken`.

        `of` must be the value that was passed to `seal`.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], of.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise SealBroken(
                f"The secrets in this database ({of}) were sealed with another master key. Start Waypost with the "
                "master.key or the WAYPOST_MASTER_KEY that this database was created with."
            ) from error


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
