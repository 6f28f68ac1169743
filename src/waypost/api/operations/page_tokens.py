"""Page tokens (NextToken), which say where the next page begins.

A page token is opaque, and is valid only for the query for which it was returned.
"""

import base64
import binascii
import hmac

from waypost.domain import errors

_MAC_OCTETS = 16


class PageTokens:
    """A codec that signs page tokens with the deployment's key, and verifies them."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, after: str, *, query: bytes) -> str:
        """Return the token for the page that begins after the cursor `after`.

        `query` identifies the query, which must be the same in the call for the next page.
        """
        place = after.encode()
        return self._token(self._mac(place, query), place)

    def read(self, token: str | None, *, query: bytes) -> str | None:
        """Return the cursor in a token, or None if `token` is None.

        Raises `errors.Invalid` if the token is malformed, or if it was made by another deployment or for another query.
        """
        if token is None:
            return None
        try:
            octets = base64.b64decode(token[1:].encode(), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            octets = b""
        mac, place = octets[:_MAC_OCTETS], octets[_MAC_OCTETS:]
        # Only one encoding of a token is accepted, although base64 has several encodings for the same bytes.
        is_ours = hmac.compare_digest(mac, self._mac(place, query)) and token == self._token(mac, place)
        if not is_ours:
            raise errors.Invalid(
                "NextToken was not returned by an earlier call with the same parameters. "
                "Leave NextToken out to begin at the first page."
            )
        return place.decode()

    @staticmethod
    def _token(mac: bytes, place: bytes) -> str:
        # The token begins with a letter, because a command line would parse a leading hyphen as an option.
        return "w" + base64.urlsafe_b64encode(mac + place).decode()

    def _mac(self, place: bytes, query: bytes) -> bytes:
        return hmac.digest(self._key, len(query).to_bytes(4) + query + place, "sha256")[:_MAC_OCTETS]
