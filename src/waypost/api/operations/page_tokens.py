"""NextToken: where the next page begins. It is opaque, and valid only for the query that returned it."""

import base64
import binascii
import hmac

from waypost.domain import errors

_MAC_OCTETS = 16


class PageTokens:
    """Makes and reads tokens with a key of this deployment."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, after: str, *, query: bytes) -> str:
        """The token for the page after `after`. `query` has everything that must be the same in the next call."""
        place = after.encode()
        return self._token(self._mac(place, query), place)

    def read(self, token: str | None, *, query: bytes) -> str | None:
        """The `after` of a token, or None without one.

        Raises `errors.Invalid` for a token that was not made here, or was made for another query.
        """
        if token is None:
            return None
        try:
            octets = base64.b64decode(token[1:].encode(), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            octets = b""
        mac, place = octets[:_MAC_OCTETS], octets[_MAC_OCTETS:]
        # A token has one spelling, though base64 has several for the same octets.
        is_ours = hmac.compare_digest(mac, self._mac(place, query)) and token == self._token(mac, place)
        if not is_ours:
            raise errors.Invalid(
                "NextToken is not one that an earlier call with the same parameters returned. "
                "Leave it out to begin at the first page."
            )
        return place.decode()

    @staticmethod
    def _token(mac: bytes, place: bytes) -> str:
        # It begins with a letter, because on a command line a hyphen would make an option of it.
        return "w" + base64.urlsafe_b64encode(mac + place).decode()

    def _mac(self, place: bytes, query: bytes) -> bytes:
        return hmac.digest(self._key, len(query).to_bytes(4) + query + place, "sha256")[:_MAC_OCTETS]
