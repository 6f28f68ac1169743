"""Tokens against cross-site request forgery: each form of the console contains one, and htmx sends it in a header.

A token is an HMAC of the id of a session, or of a random value in a cookie before the person has signed in. A page of
another site can read neither, so it cannot send a form with a valid token. Source: OWASP Cross-Site Request Forgery
Prevention Cheat Sheet, "Signed Double-Submit Cookie".
"""

import hmac
from hashlib import sha256

FIELD = "csrf"
"""The name of the form field with the token."""

HEADER = "x-csrf-token"
"""The name of the header field with the token, in lower case."""


def token(key: bytes, *, bound_to: str) -> str:
    """Return the token for the session or the visitor `bound_to`. `key` is the secret key of the deployment."""
    return hmac.digest(key, bound_to.encode(), sha256).hex()


def is_valid(candidate: str, key: bytes, *, bound_to: str) -> bool:
    """Return whether a token from a request is the token for `bound_to`. The comparison takes constant time."""
    return hmac.compare_digest(candidate.encode("utf-8", "replace"), token(key, bound_to=bound_to).encode())
