"""Makes access keys, and seals their secrets, so that the database alone does not reveal them."""

import secrets
import string
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from waypost.domain.iam import policies
from waypost.domain.iam.access_keys import AccessKey, digest_of_session_token

_NONCE_OCTETS = 12
_LETTERS = string.ascii_letters + string.digits
_ID_LETTERS = string.ascii_uppercase + "234567"


class SealBroken(Exception):
    """A secret was sealed with another master key, or changed since."""


class Keyring:
    """Seals and unseals secrets by AES-256-GCM. Each sealed secret is bound to its access key, so that none can be
    swapped.
    """

    def __init__(self, key: bytes) -> None:
        """`key` has 32 octets."""
        self._cipher = AESGCM(key)

    def seal(self, secret: str, of: str) -> bytes:
        """The sealed form, which may be written to disk."""
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), of.encode())

    def unseal(self, sealed: bytes, of: str) -> str:
        """The secret again. Raises `SealBroken`."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_OCTETS], sealed[_NONCE_OCTETS:], of.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise SealBroken(
                f"What is sealed in this database ({of}) was sealed with another master key. Start with the "
                "master.key, or the WAYPOST_MASTER_KEY, that it was made with."
            ) from error


def new_access_key(
    *,
    account: str,
    user_name: str,
    now: datetime,
    policy: str | None = None,
    lifetime: timedelta | None = None,
) -> tuple[AccessKey, str | None]:
    """A new access key; one with a lifetime has a session token. Without a policy it allows everything."""
    token = _random(_LETTERS, 64) if lifetime else None
    key = AccessKey(
        # The letters that AWS uses, so that tools which look for leaked keys find these too.
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
