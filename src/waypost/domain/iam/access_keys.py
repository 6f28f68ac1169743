"""The access key: what a caller proves to have, the account it speaks for, and what it may do."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from waypost.domain import errors
from waypost.domain.iam import policies
from waypost.domain.iam.policies import Policy

_USER_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
MAX_CLOCK_SKEW = timedelta(minutes=15)
"""How much the clocks of two machines may differ: AWS allows this much between the time of a signature and its own."""

_ID = re.compile(r"[!-~]{1,128}")
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key id with its secret. `repr` shows neither the secret nor the session token.

    A key with an expiry is temporary, and has a session token that every request must send.
    """

    id: str
    secret: str = field(repr=False)
    account: str
    user_name: str = "root"
    document: str = field(default=policies.ALLOW_ALL, repr=False)
    """The IAM identity policy, as JSON."""
    active: bool = True
    created_at: datetime = _LONG_AGO
    expires_at: datetime | None = None
    session_token_digest: bytes | None = field(default=None, repr=False)

    def has_secret(self, candidate: str) -> bool:
        """Whether this is the secret, compared in constant time."""
        return hmac.compare_digest(self.secret.encode(), candidate.encode("utf-8", "surrogateescape"))

    def has_session_token(self, candidate: str | None) -> bool:
        """Whether this is the session token; None is right for a key that has none."""
        if candidate is None or self.session_token_digest is None:
            return candidate is None and self.session_token_digest is None
        return hmac.compare_digest(self.session_token_digest, digest_of_session_token(candidate))

    @property
    def policy(self) -> Policy | None:
        """What its holder may do; None for a document that does not parse, which denies everything."""
        return _parsed(self.document)

    @property
    def allows_all(self) -> bool:
        """Whether its policy is the one that allows everything."""
        return self.document == policies.ALLOW_ALL

    @property
    def is_unrestricted(self) -> bool:
        """Whether it may do everything in its account, for ever."""
        return self.active and self.expires_at is None and self.allows_all

    def is_expired(self, now: datetime) -> bool:
        """Whether a temporary key has expired.

        So has one that was created in the future: the clock was ahead then, and the key would be valid for too long.
        """
        return self.expires_at is not None and not self.created_at - MAX_CLOCK_SKEW <= now < self.expires_at


def is_id(text: str) -> bool:
    """Whether an access key could have this id. Clients may send any octets, and look-ups need plain text."""
    return _ID.fullmatch(text) is not None


def digest_of_session_token(token: str) -> bytes:
    """The digest that is stored of a session token. It is long and random, so it needs no salt."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def check(key: AccessKey) -> None:
    """Raise `errors.Invalid` for a key whose account, user name or policy is not allowed."""
    if not _ACCOUNT.fullmatch(key.account):
        raise errors.Invalid(f"An account id is twelve digits, not {key.account!r}.")
    if not _USER_NAME.fullmatch(key.user_name):
        raise errors.Invalid(f"A user name is 1 to 64 letters, digits and _+=,.@-, not {key.user_name!r}.")
    policies.parse(key.document)


@lru_cache(maxsize=1024)
def _parsed(document: str) -> Policy | None:
    try:
        return policies.parse(document)
    except errors.Invalid:
        return None
