"""The access key: what a caller proves to have, and the account it speaks for."""

import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key id with its secret. The secret is never shown, not even by `repr`."""

    id: str
    secret: str = field(repr=False)
    account: str

    def has_secret(self, candidate: str) -> bool:
        """Whether this is the secret, compared in constant time."""
        return hmac.compare_digest(self.secret.encode(), candidate.encode("utf-8", "surrogateescape"))
