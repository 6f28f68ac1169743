"""Each patch of a broken build applies to the sources, and belongs to a row of the table."""

import subprocess
from pathlib import Path

import pytest

from faults.broken.table import BUILDS, PATCHES
from faults.campaign.table import ALL_KINDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("broken", BUILDS, ids=lambda broken: broken.patch)
def test_the_patch_applies(broken):
    applied = subprocess.run(
        ["git", "apply", "--check", broken.path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert applied.returncode == 0, applied.stderr


def test_each_patch_has_a_row_and_each_row_a_kind_of_fault():
    assert {broken.path for broken in BUILDS} == set(PATCHES.glob("*.patch"))
    kinds = {kind.name: kind for kind in ALL_KINDS}
    for broken in BUILDS:
        kind = kinds[broken.kind]
        assert broken.store in kind.stores
        assert broken.workers in kind.workers
