"""The wheel is complete, its metadata is valid, and two builds of a commit are equal."""

import os
import re
import subprocess
import tarfile
import zipfile
from email import message_from_string
from hashlib import sha256
from pathlib import Path

import pytest

import waypost
from scripts import check_install
from tests.kit.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOT = Path(__file__).parents[2]
UV = ROOT / ".venv" / "bin" / "uv"
RELEASE = ROOT / ".venv" / "release" / "bin"
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def built(directory, epoch="1700000000"):
    """Build the source distribution and the wheel, and return their paths."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    command = [UV, "build", "--quiet", "--offline", "--no-build-isolation", "--out-dir", directory]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=PATIENCE)
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return built(tmp_path_factory.mktemp("dist"))


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def test_the_wheel_has_all_files_of_the_package(packages):
    with zipfile.ZipFile(packages[1]) as archive:
        packed = {name for name in archive.namelist() if name.startswith("waypost/")}
    source = ROOT / "src"
    assert packed == {
        str(path.relative_to(source))
        for path in source.joinpath("waypost").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_source_distribution_has_what_building_and_testing_takes(packages):
    with tarfile.open(packages[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "Makefile"} <= names
    assert {name.partition("/")[0] for name in names} >= {"src", "tests", "docs", "requirements", "scripts"}
    assert not [name for name in names if name.startswith((".venv", ".cache", "waypost-data"))]


def test_the_metadata_names_the_supported_pythons_and_no_url(packages):
    described = metadata(packages[1])
    assert described["Version"] == waypost.__version__
    assert described["Requires-Python"] == ">=3.11"
    assert described["License-Expression"] == "Apache-2.0"
    classifiers = described.get_all("Classifier")
    named = [one.rpartition(" :: ")[2] for one in classifiers if re.fullmatch(r".* :: 3\.\d+", one)]
    assert tuple(named) == SUPPORTED == check_install.VERSIONS
    assert not {"Home-page", "Project-URL", "Download-URL"} & set(described.keys())


def test_two_builds_of_a_commit_are_equal(packages, tmp_path):
    again = built(tmp_path)
    assert [sha256(path.read_bytes()).digest() for path in again] == [
        sha256(path.read_bytes()).digest() for path in packages
    ]


def test_twine_finds_no_fault(packages):
    done = subprocess.run(
        [RELEASE / "twine", "check", "--strict", *packages], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == len(packages)


def test_an_empty_environment_with_the_wheel_can_receive_mail(packages, tmp_path):
    """The packages come from uv's cache, which `make` has filled, so that the test needs no network."""
    subprocess.run([UV, "venv", "--quiet", "--python", ROOT / ".venv" / "bin" / "python", tmp_path / "env"], check=True)
    environment = check_install.Environment(tmp_path / "env")
    command = [UV, "pip", "install", "--quiet", "--offline", "--python", environment.path, "--no-deps"]
    cache = {**environment.variables, "UV_CACHE_DIR": str(ROOT / ".cache" / "uv")}
    locked = (
        "--requirement",
        ROOT / "requirements" / "server.txt",
        "--build-constraint",
        ROOT / "requirements" / "run.txt",
    )
    for wanted in (locked, (packages[1],)):
        subprocess.run([*command, *wanted], env=cache, check=True)
    check_install.check(environment)
