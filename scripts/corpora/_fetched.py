"""Source distributions of other projects, fetched by the ordinary clients of PyPI and npm into `.cache/corpora`."""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache"
PLACE = CACHE / "corpora"


def from_pypi(name: str, version: str) -> Path:
    """The directory of an unpacked source distribution. Nothing of it is built or run."""
    # With the build tools of this environment, pip asks setup.py for its metadata at most.
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary=:all:", "--no-build-isolation"]
    pip = [sys.executable, "-m", "pip", "download", *options, f"--cache-dir={CACHE / 'pip'}"]
    return _unpacked(f"{name}-{version}", lambda place: [*pip, f"--dest={place}", f"{name}=={version}"])


def from_npm(name: str, version: str) -> Path | None:
    """The directory of an unpacked package; None where there is no npm."""
    if not shutil.which("npm"):
        return None
    npm = ["npm", "pack", "--silent", "--ignore-scripts", f"--cache={CACHE / 'npm'}"]
    return _unpacked(f"npm-{name}-{version}", lambda place: [*npm, f"--pack-destination={place}", f"{name}@{version}"])


def _unpacked(name: str, fetch: Callable[[Path], list[str]]) -> Path:
    place = PLACE / name
    if not place.exists():
        print(f"Fetching {name}")
        coming = PLACE / f"{name}.coming"
        shutil.rmtree(coming, ignore_errors=True)
        coming.mkdir(parents=True)
        subprocess.run(fetch(coming), check=True, stdout=subprocess.DEVNULL)
        (archive,) = [*coming.glob("*.tar.gz"), *coming.glob("*.tgz")]
        with tarfile.open(archive) as members:
            members.extractall(coming, filter="data")
        archive.unlink()
        coming.rename(place)
    return place
