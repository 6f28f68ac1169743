"""Source distributions of other projects, which pip downloads from PyPI into `.cache/corpora`."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache"
PLACE = CACHE / "corpora"


@dataclass(frozen=True, slots=True)
class Sdist:
    """One version of a project, with the SHA-256 of its source distribution."""

    project: str
    version: str
    sha256: str

    def fetched(self) -> Path:
        """Return the directory with the unpacked distribution. It is not installed, but pip runs its build script for
        the metadata.
        """
        return unpacked(f"{self.project}-{self.version}", self._download)

    def _download(self, place: Path) -> Path:
        requirement = place / "requirement.txt"
        requirement.write_text(f"{self.project}=={self.version} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        options = ["--quiet", "--disable-pip-version-check", f"--cache-dir={CACHE / 'pip'}", "--require-hashes"]
        options += ["--no-deps", "--no-binary=:all:", "--no-build-isolation", f"--dest={place}"]
        command = [sys.executable, "-m", "pip", "download", *options, f"--requirement={requirement}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = place.glob("*.tar.gz")
        return archive


def unpacked(name: str, download: Callable[[Path], Path]) -> Path:
    """Return the directory in `PLACE` with the unpacked archive, which is downloaded only once.

    `download` downloads the archive into the given directory, checks it, and returns its path.
    """
    place = PLACE / name
    if not place.exists():
        print(f"Fetching {name}", flush=True)
        coming = PLACE / f"{name}.coming"
        shutil.rmtree(coming, ignore_errors=True)
        coming.mkdir(parents=True)
        archive = download(coming)
        subprocess.run(["tar", "--extract", "--gzip", f"--file={archive}", f"--directory={coming}"], check=True)
        coming.rename(place)
    return place
