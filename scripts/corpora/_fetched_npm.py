"""Packages of other projects, which are downloaded from npm into `.cache/corpora`."""

import base64
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.corpora._fetched import CACHE, unpacked


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a project, with the SHA-512 of its package in Base64, as npm writes it."""

    project: str
    version: str
    sha512: str

    def fetched(self) -> Path | None:
        """Return the directory with the unpacked package; None if npm is not installed. No code of the package is
        run.
        """
        if not shutil.which("npm"):
            print(f"{self.project} {self.version} is skipped, because npm is not installed")
            return None
        return unpacked(f"npm-{self.project}-{self.version}", self._download)

    def _download(self, place: Path) -> Path:
        options = ["--silent", "--ignore-scripts", f"--cache={CACHE / 'npm'}", f"--pack-destination={place}"]
        command = ["npm", "pack", *options, f"{self.project}@{self.version}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = place.glob("*.tgz")
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != self.sha512:
            sys.exit(f"{self.project} {self.version} from npm has the hash {found} instead of {self.sha512}")
        return archive
