"""Client tokens: a call that is repeated with the same token is carried out once, and gets the same response.

The record of a call is written in the transaction of its effect, so neither exists without the other. Failed calls are
not recorded. See "Making retries safe with idempotent APIs" in the Amazon Builders' Library; AWS documents neither
scope nor retention for these operations (docs/aws-differences.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.app import ports
from waypost.domain import errors

FORGOTTEN_AT_ONCE = 1_000
"""The most records that one transaction deletes, because other writes wait for it."""


@dataclass(frozen=True, slots=True)
class TokenedCall:
    """A call with a token: `fingerprint` is a digest of all parameters but the token itself."""

    key: ports.CallKey
    fingerprint: bytes
    retention: timedelta
    """How long the token is valid."""


def once(tx: ports.WriteTx, call: TokenedCall | None, *, now: datetime, effect: Callable[[], str]) -> str:
    """Run `effect` and record its response, or return the response of the first call without running it.

    Without a token, `effect` simply runs. Raises `errors.TokenReused` if the token was used with other parameters, and
    the errors of `effect`.
    """
    if call is None:
        return effect()
    first = tx.claim_call(call.key)
    if first is not None and now - first.made_at < call.retention:
        if first.fingerprint != call.fingerprint:
            raise errors.TokenReused(
                "This ClientToken was used for a call with other parameters. "
                "Repeat the first call exactly, or use a new token for a new call."
            )
        return first.answer
    answer = effect()
    tx.remember_call(call.key, ports.RememberedCall(call.fingerprint, answer, now))
    return answer


def purge(tx: ports.WriteTx, *, now: datetime, retention: timedelta) -> bool:
    """Delete some of the expired records. Returns whether there may be more.

    A record with a time in the future was made while the clock was ahead: it is kept as long as one that is made now.
    """
    corrected = tx.correct_calls(now=now, limit=FORGOTTEN_AT_ONCE)
    forgotten = tx.forget_calls(before=now - retention, limit=FORGOTTEN_AT_ONCE)
    return FORGOTTEN_AT_ONCE in {corrected, forgotten}
