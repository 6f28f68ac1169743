"""Source distributions of other projects, fetched from PyPI by pip into `.cache/corpora`."""

import shutil
import subprocess
import sys
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
        """The directory that it is unpacked in. It is not installed; pip runs its build script for the metadata."""
        place = PLACE / f"{self.project}-{self.version}"
        if not place.exists():
            print(f"Fetching {place.name}", flush=True)
            coming = PLACE / f"{place.name}.coming"
            shutil.rmtree(coming, ignore_errors=True)
            coming.mkdir(parents=True)
            requirement = coming / "requirement.txt"
            requirement.write_text(f"{self.project}=={self.version} --hash=sha256:{self.sha256}\n", encoding="utf-8")
            self._download(requirement, coming)
            (archive,) = coming.glob("*.tar.gz")
            subprocess.run(["tar", "--extract", "--gzip", f"--file={archive}", f"--directory={coming}"], check=True)
            coming.rename(place)
        return place

    @staticmethod
    def _download(requirement: Path, place: Path) -> None:
        options = ["--quiet", "--disable-pip-version-check", f"--cache-dir={CACHE / 'pip'}", "--require-hashes"]
        options += ["--no-deps", "--no-binary=:all:", "--no-build-isolation", f"--dest={place}"]
        command = [sys.executable, "-m", "pip", "download", *options, f"--requirement={requirement}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
