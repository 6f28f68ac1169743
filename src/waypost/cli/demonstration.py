"""`waypost demo`."""


def tell(*, stay: bool) -> int:
    """Placeholder until the story is told."""
    return int(stay)
