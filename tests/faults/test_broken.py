"""Each patch of a broken build applies to the sources, and belongs to a row of the table."""

import subprocess
from pathlib import Path

import pytest

from faults.broken import __main__ as command
from faults.broken.table import BUILDS, PATCHES
from faults.campaign import table
from faults.campaign.table import KINDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("broken", BUILDS, ids=lambda broken: broken.patch)
def test_the_patch_applies(broken):
    applied = subprocess.run(
        ["git", "apply", "--check", broken.path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert applied.returncode == 0, applied.stderr


def test_each_patch_has_a_row_and_each_row_a_kind_of_fault():
    assert {broken.path for broken in BUILDS} == set(PATCHES.glob("*.patch"))
    kinds = {kind.name: kind for kind in KINDS}
    for broken in BUILDS:
        kind = kinds[broken.kind]
        assert broken.store in kind.stores
        assert broken.workers in kind.workers


def test_a_build_whose_faults_this_machine_cannot_inject_is_left_out_with_the_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(table.NEEDS, "power cut", lambda: "no C compiler was found")
    results = tmp_path / "new" / "broken.jsonl"
    assert command.main(["--only", "synchronous-normal", "--results", str(results)]) == 0
    assert "Left out: synchronous-normal, because no C compiler was found" in capsys.readouterr().out


def test_an_unknown_patch_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["--only", "synchronous-norma"])
    assert "synchronous-norma" in capsys.readouterr().err
