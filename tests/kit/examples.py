"""How many examples a property is tried with: few in `make test`, many in `make proofs`, which sets the variable."""

import os

FACTOR = float(os.environ.get("WAYPOST_EXAMPLES", "0.25"))


def examples(number: int) -> int:
    """So many, or the share of them that is wanted; a few in any case."""
    return max(5, round(number * FACTOR))
