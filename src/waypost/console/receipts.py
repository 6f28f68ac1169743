"""Receipts: after an action, the URL of the next page has the call that was made, so that the page can show it.

So reload and back work, and no session keeps the call. The text in the URL has a message authentication code, because
a link on another site must not make the console show a command that somebody else has chosen.
"""

import base64
import binascii
import hmac
import json
import zlib
from hashlib import sha256

from waypost.console.calls import Call

PARAMETER = "done"
"""The parameter of a URL that has a receipt."""

_MAC_OCTETS = 16


def write(call: Call, key: bytes, *, bound_to: str) -> str:
    """Return the receipt of a call, as text for a URL. It is valid only with the same secret key and `bound_to`."""
    octets = zlib.compress(json.dumps([call.operation, call.region, call.members]).encode(), 9)
    return base64.urlsafe_b64encode(_mac(octets, key, bound_to) + octets).decode().rstrip("=")


def read(receipt: str, key: bytes, *, bound_to: str) -> Call | None:
    """Return the call of a receipt, or None if the receipt is not valid."""
    try:
        both = base64.urlsafe_b64decode(receipt.encode() + b"=" * (-len(receipt) % 4))
    except (binascii.Error, ValueError):
        return None
    mac, octets = both[:_MAC_OCTETS], both[_MAC_OCTETS:]
    if not hmac.compare_digest(mac, _mac(octets, key, bound_to)):
        return None
    return Call(*json.loads(zlib.decompress(octets)))


def _mac(octets: bytes, key: bytes, bound_to: str) -> bytes:
    return hmac.digest(key, b"receipt " + len(bound_to).to_bytes(4) + bound_to.encode() + octets, sha256)[:_MAC_OCTETS]
