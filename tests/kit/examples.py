"""The number of examples for a property: few in `make test`, and many in `make proofs`, which sets the variable."""

import os

FACTOR = float(os.environ.get("WAYPOST_EXAMPLES", "0.25"))


def examples(number: int) -> int:
    """Return `number` multiplied by the factor from the environment, but at least 5."""
    return max(5, round(number * FACTOR))
