"""The simulation finds each deliberately broken variant of Waypost."""

import pytest

from faults.simulation import broken
from faults.simulation.world import run_seed

FOUND_BY = {
    "claims without a lease": 0,
    "never renews a lease": 0,
    "records without owning": 1,
    "stores a copy twice": 1,
    "links without a lock": 11,
    "replies before the commit": 2,
    "keeps the version of the directory": 6,
    "takes a part before storing it": 19,
    "takes a notice before writing it": 0,
    "says success to the group": 0,
    "ignores failed commits": 0,
    "commits half of a failed write": 0,
    "forgets client tokens": 0,
}
"""The first seed that finds each variant, so that the quick tests need to run only this seed."""


def test_each_variant_has_a_seed():
    assert FOUND_BY.keys() == broken.VARIANTS.keys()
    assert all(seed < broken.within(name) for name, seed in FOUND_BY.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND_BY)
def test_a_seed_finds_the_variant_and_nothing_in_the_unbroken_servers(name):
    with broken.broken(name):
        assert run_seed(FOUND_BY[name]).violations
    assert not run_seed(FOUND_BY[name]).violations


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", broken.VARIANTS)
def test_the_variant_is_found_within_the_stated_number_of_seeds(name):
    with broken.broken(name):
        assert any(run_seed(seed).violations for seed in range(broken.within(name)))
