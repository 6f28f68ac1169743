"""The secrets that sign rewritten senders (SRS) and loop tokens, and their rotation.

The secrets come in generations. A new generation is announced before it signs, so that each server has read it when the
first server uses it. After a generation has been replaced, what it has signed is still accepted for as long as a
rewritten sender is valid. The first generation is derived from the master key. When it is replaced, the keys that may
still be needed are recorded, because the master key may be replaced too.
"""

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from msgspec import Struct, field

from waypost.domain import representation
from waypost.domain.mailauth.srs import PERIOD_DAYS, VALID_DAYS

LEAD = timedelta(minutes=5)
"""The time from the rotation until the new generation signs. Each server reads the generations every minute."""

ACCEPTED = timedelta(days=VALID_DAYS + 1)
"""How long a replaced generation is accepted: one day more than a rewritten sender is valid, which counts whole days.
"""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


class Generation(Struct, frozen=True):
    """The secrets of one generation."""

    begins_at: datetime
    """The time from which this generation signs."""
    loop_key: bytes
    periods: Mapping[int, bytes] = field(default_factory=dict)
    """The recorded secrets for rewritten senders, by their periods (`srs.rewrite`); empty if they are derived."""
    root: bytes = b""
    """The secret from which those for rewritten senders are derived; empty if they are recorded."""

    def __repr__(self) -> str:
        """Return the fields without the secrets."""
        return representation.without(self, "loop_key", "periods", "root")

    def srs_key(self, period: int) -> bytes:
        """Return the secret for rewritten senders in a period."""
        # A period that was not recorded has a secret with which nothing was ever signed.
        return self.periods.get(period) or _derived(self.root or self.loop_key, f"rewritten senders {period}")


class Accepted(Struct, frozen=True):
    """The generations that count at one time."""

    signing: Generation
    others: tuple[Generation, ...]
    """Generations that do not sign, but whose signatures are accepted."""


def first(now: datetime, loop_key: bytes, srs_key: Callable[[int], bytes]) -> Generation:
    """Return the generation that is derived from the master key, with the keys that can be needed from now on."""
    period = (now - _FIRST).days // PERIOD_DAYS
    return Generation(_FIRST, loop_key, {each: srs_key(each) for each in range(period - 1, period + 2)})


def rotated(generations: tuple[Generation, ...], *, root: bytes, now: datetime) -> tuple[Generation, ...]:
    """Return the generations with a new one, whose secrets are derived from `root`, 32 random bytes. Generations that
    are not accepted any more are left out.
    """
    at = in_force(generations, now)
    kept = [one for one in generations if one is at.signing or one in at.others]
    return (*kept, Generation(now + LEAD, _derived(root, "loop tokens"), root=root))


def in_force(generations: tuple[Generation, ...], now: datetime) -> Accepted:
    """Return the generation that signs now, and the others that are accepted: those that will sign, and those that were
    replaced at most `ACCEPTED` ago. `generations` are in the order of their beginnings, and are not empty.
    """
    begun = [one for one in generations if one.begins_at <= now] or [generations[0]]
    signing = begun[-1]
    ends = [(one, after.begins_at) for one, after in pairwise(generations)]
    old = [one for one, end in ends if end <= signing.begins_at and one is not signing and now < end + ACCEPTED]
    future = [one for one in generations if one.begins_at > signing.begins_at]
    return Accepted(signing, (*old, *future))


def written(generations: tuple[Generation, ...]) -> str:
    """Return generations as text, which must be sealed before it is stored."""
    return json.dumps(
        [
            {
                "begins_at": one.begins_at.isoformat(),
                "loop_key": _text(one.loop_key),
                "periods": {str(period): _text(key) for period, key in one.periods.items()},
                "root": _text(one.root),
            }
            for one in generations
        ]
    )


def read(text: str) -> tuple[Generation, ...]:
    """Return the generations that `written` has written."""
    return tuple(
        Generation(
            datetime.fromisoformat(one["begins_at"]),
            _octets(one["loop_key"]),
            {int(period): _octets(key) for period, key in one["periods"].items()},
            _octets(one["root"]),
        )
        for one in json.loads(text)
    )


def _derived(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, purpose.encode(), "sha256")


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _octets(text: str) -> bytes:
    return base64.b64decode(text)
