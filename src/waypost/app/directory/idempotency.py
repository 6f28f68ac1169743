"""Client tokens make calls idempotent: a call that is repeated with the same token takes effect only once, and gets the
same response each time.

The record of a call is written in the same transaction as the call's effect, so that the store contains either both or
neither. A failed call is not recorded, so the client can repeat it with the same token. See "Making retries safe with
idempotent APIs" in the Amazon Builders' Library; AWS does not document the scope or the retention of client tokens for
these operations (docs/aws-differences.md).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from waypost.app import ports
from waypost.domain import errors

FORGOTTEN_AT_ONCE = 1_000
"""The maximum number of records that one transaction deletes; a longer transaction would delay other writes."""


class TokenedCall(Struct, frozen=True):
    """A call with a client token. `fingerprint` is a digest of all parameters except the token."""

    key: ports.CallKey
    fingerprint: bytes
    retention: timedelta
    """How long the client token is valid."""


def once(tx: ports.WriteTx, call: TokenedCall | None, *, now: datetime, effect: Callable[[], str]) -> str:
    """Run `effect` and record its response. If the call is a repetition, return the first call's response instead.

    If `call` is None, run `effect` and record nothing. Raises `errors.TokenReused` if the token was used with other
    parameters, and any error that `effect` raises.
    """
    if call is None:
        return effect()
    first = tx.claim_call(call.key)
    if first is not None and now - first.made_at < call.retention:
        if first.fingerprint != call.fingerprint:
            raise errors.TokenReused(
                "This ClientToken was already used for a call with other parameters. "
                "Repeat the first call exactly, or use a new token for a new call."
            )
        return first.answer
    answer = effect()
    tx.remember_call(call.key, ports.RememberedCall(call.fingerprint, answer, now))
    return answer


def purge(tx: ports.WriteTx, *, now: datetime, retention: timedelta) -> bool:
    """Delete some expired records of calls. Returns whether there may be more expired records.

    If the clock was ahead when a record was written, the record's time may be in the future. A time in the future is
    replaced with the current time, so that the record expires as if it were new.
    """
    corrected = tx.correct_calls(now=now, limit=FORGOTTEN_AT_ONCE)
    forgotten = tx.forget_calls(before=now - retention, limit=FORGOTTEN_AT_ONCE)
    return FORGOTTEN_AT_ONCE in {corrected, forgotten}
