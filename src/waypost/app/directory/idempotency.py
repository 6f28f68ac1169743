"""Client tokens: a call that is made twice with one token is carried out once, and answered the same.

The memory of a call is written in the transaction of its effect, so there is no moment at which one exists
without the other. Calls that fail are not remembered. See "Making retries safe with idempotent APIs" in the
Amazon Builders' Library; AWS documents neither scope nor retention for these operations
(docs/aws-differences.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.app import ports
from waypost.domain import errors

FORGOTTEN_AT_ONCE = 1_000
"""Calls forgotten in one transaction, at most: so long others may have to wait."""


@dataclass(frozen=True, slots=True)
class TokenedCall:
    """A call as its token knows it: `fingerprint` is a digest of all parameters but the token itself."""

    key: ports.CallKey
    fingerprint: bytes
    retention: timedelta
    """How long the token is remembered."""


def once(tx: ports.WriteTx, call: TokenedCall | None, *, now: datetime, effect: Callable[[], str]) -> str:
    """Run `effect` and remember its answer, or give the answer of the first time without running it.

    A call without a token simply runs. Raises `errors.TokenReused` if the token came with other parameters,
    and whatever `effect` raises.
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
    """Forget some of the calls that are remembered longer than they count. Returns whether there may be more.

    A call with a time in the future was made while the clock was ahead: it is kept as long as one that is made now.
    """
    corrected = tx.correct_calls(now=now, limit=FORGOTTEN_AT_ONCE)
    forgotten = tx.forget_calls(before=now - retention, limit=FORGOTTEN_AT_ONCE)
    return FORGOTTEN_AT_ONCE in {corrected, forgotten}
