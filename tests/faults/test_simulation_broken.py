"""The simulation finds each deliberately broken variant of Waypost."""

import pytest

from faults.simulation import broken
from faults.simulation.world import run_seed

FAULTS = 16
"""The number of faults in each phase."""

QUICKLY = ("claims without a lease", "records without owning", "keeps the version of the directory")
"""Variants that most seeds find."""


def is_found(name):
    """Return whether a seed finds the variant within the stated number of seeds."""
    with broken.broken(name):
        return any(run_seed(seed, faults=FAULTS).violations for seed in range(broken.within(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICKLY)
def test_the_variant_is_found(name):
    assert is_found(name)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", sorted(broken.VARIANTS.keys() - set(QUICKLY)))
def test_the_rarer_variant_is_found(name):
    assert is_found(name)
