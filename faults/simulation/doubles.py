"""The documented reasons for which a peer may get a copy twice (docs/durability.md)."""

LEASE_AND_MORE = 150.0
"""The lease of an attempt began, or was renewed, at most so many seconds before the attempt."""


def is_allowed(excuses, earlier, later):
    """Return whether one of the excuses explains why a copy arrived at its peer again."""
    return earlier.is_reply_lost or any(_explains(one, earlier, later) for one in excuses)


def _explains(excuse, earlier, later):
    servers = {"", earlier.server, later.server} if excuse.kind in {"stopped", "store"} else {"", earlier.server}
    # A server that is killed sends again what it had sent but not recorded. All other faults can end a lease, so that
    # they may have begun before the attempt.
    since = earlier.at if excuse.kind == "killed" else earlier.began - LEASE_AND_MORE
    return excuse.server in servers and excuse.ended >= since and excuse.began <= later.at
