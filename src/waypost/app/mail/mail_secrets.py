"""Rotate the secrets that sign rewritten senders and loop tokens, and read the generations of these secrets."""

from collections.abc import Callable
from datetime import datetime

from waypost.app import ports
from waypost.domain.mailauth import mail_secrets
from waypost.domain.mailauth.mail_secrets import Generation

_LOCK = "mail secrets"


def generations(tx: ports.ReadTx) -> tuple[Generation, ...]:
    """Return the recorded generations; none before the first rotation."""
    text = tx.mail_secrets()
    return mail_secrets.read(text) if text else ()


def rotate(
    tx: ports.WriteTx, *, loop_key: bytes, srs_key: Callable[[int], bytes], root: bytes, now: datetime
) -> datetime:
    """Begin a new generation, whose secrets are derived from `root`. Return the time from which it signs.

    `loop_key` and `srs_key` are the secrets that are derived from the master key, which sign before the first rotation.
    """
    tx.hold(_LOCK)
    found = generations(tx) or (mail_secrets.first(now, loop_key, srs_key),)
    new = mail_secrets.rotated(found, root=root, now=now)
    tx.put_mail_secrets(mail_secrets.written(new))
    return new[-1].begins_at
