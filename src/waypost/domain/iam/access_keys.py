"""The access key that signs a call: its id and secret, its account, and its policy."""

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from msgspec import Struct

from waypost.domain import errors, representation
from waypost.domain.iam import policies
from waypost.domain.iam.policies import Policy

_USER_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
MAX_CLOCK_SKEW = timedelta(minutes=15)
"""The allowed difference between the clocks of two machines. AWS allows the same difference for SigV4 signatures."""

_ID = re.compile(r"[!-~]{1,128}")
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)


class AccessKey(Struct, frozen=True):
    """An access key id with its secret. The `repr` of an access key shows neither the secret nor the session token.

    A key with an expiry time is temporary, and has a session token that every request must send.
    """

    id: str
    secret: str
    account: str
    user_name: str = "root"
    document: str = policies.ALLOW_ALL
    """The IAM identity policy of the access key, as JSON."""
    active: bool = True
    created_at: datetime = _LONG_AGO
    expires_at: datetime | None = None
    session_token_digest: bytes | None = None

    def __repr__(self) -> str:
        """Return the fields without the secrets."""
        return representation.without(self, "secret", "document", "session_token_digest")

    def has_secret(self, candidate: str) -> bool:
        """Return whether the candidate is the key's secret. The comparison takes constant time."""
        return hmac.compare_digest(self.secret.encode(), candidate.encode("utf-8", "surrogateescape"))

    def has_session_token(self, candidate: str | None) -> bool:
        """Return whether the candidate is the key's session token.

        If the key has no session token, the result is true only if the candidate is None.
        """
        if candidate is None or self.session_token_digest is None:
            return candidate is None and self.session_token_digest is None
        return hmac.compare_digest(self.session_token_digest, digest_of_session_token(candidate))

    @property
    def policy(self) -> Policy | None:
        """The parsed policy; None if the document cannot be parsed, in which case every request is denied."""
        return policy_of(self.document)

    @property
    def allows_all(self) -> bool:
        """Whether the key's policy is the document that allows everything."""
        return self.document == policies.ALLOW_ALL

    @property
    def is_unrestricted(self) -> bool:
        """Whether the key is active, never expires, and may do everything in its account."""
        return self.active and self.expires_at is None and self.allows_all

    def is_expired(self, now: datetime) -> bool:
        """Return whether a temporary key has expired.

        A key whose creation time is more than `MAX_CLOCK_SKEW` in the future is also treated as expired. Such a key was
        created while the clock was ahead, and would otherwise be valid for too long.
        """
        return self.expires_at is not None and not self.created_at - MAX_CLOCK_SKEW <= now < self.expires_at


def is_id(text: str) -> bool:
    """Return whether the text is a well-formed access key id.

    Clients can send arbitrary bytes, but lookups in the store need printable ASCII.
    """
    return _ID.fullmatch(text) is not None


def digest_of_session_token(token: str) -> bytes:
    """Return the SHA-256 digest of a session token, for storage.

    Tokens are long and random, so their digests need no salt.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def check(key: AccessKey) -> None:
    """Raise `errors.Invalid` if the account, the user name or the policy of a key is invalid."""
    if not _ACCOUNT.fullmatch(key.account):
        raise errors.Invalid(f"An account id must be twelve digits, not {key.account!r}.")
    if not _USER_NAME.fullmatch(key.user_name):
        raise errors.Invalid(f"A user name must be 1 to 64 letters, digits and _+=,.@-, not {key.user_name!r}.")
    policies.parse(key.document)


@lru_cache(maxsize=1024)
def policy_of(document: str) -> Policy | None:
    """Parse a policy document; return None if it cannot be parsed. Parsed policies are cached."""
    try:
        return policies.parse(document)
    except errors.Invalid:
        return None
