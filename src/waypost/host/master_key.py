"""The master key of a deployment: its text form, its length, and the keys that are derived from it."""

import base64
import hashlib
import hmac
import os

MASTER_KEY_VARIABLE = "WAYPOST_MASTER_KEY"
"""The environment variable for the master key (32 bytes in base64url). The variable overrides the file `master.key`."""

PREVIOUS_KEY_VARIABLE = "WAYPOST_MASTER_KEY_PREVIOUS"
"""The environment variable for the previous master key during a rotation, if `WAYPOST_MASTER_KEY` has the new one."""

BYTES = 32

SEALED = "sealed secrets"
"""The purpose of the key that seals secrets."""


class BadMasterKey(Exception):
    """A master key has the wrong form. The exception's message names its file or variable."""


def is_master_key_in_environment() -> bool:
    """Whether the master key comes from the environment and not from a file."""
    return bool(os.environ.get(MASTER_KEY_VARIABLE))


def derived(master: bytes, purpose: str) -> bytes:
    """Return the secret key for a purpose."""
    return hmac.digest(master, purpose.encode(), hashlib.sha256)


def checked(master: bytes, where: str) -> bytes:
    """Return a master key. Raise `BadMasterKey` if it has the wrong length. `where` is its file or variable."""
    if len(master) != BYTES:
        raise BadMasterKey(f"{where} must be {BYTES} bytes in base64url. Restore the key from your backup.")
    return master


def encoded(master: bytes) -> str:
    """Return the contents of the file with a master key."""
    return base64.urlsafe_b64encode(master).decode() + "\n"


def decoded(encoded: str) -> bytes:
    """Decode base64url, with or without padding. Return empty bytes if the string is not valid base64url."""
    text = encoded.strip().rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
