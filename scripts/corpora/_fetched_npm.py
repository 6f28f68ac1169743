"""Packages of other projects, fetched from npm into `.cache/corpora`."""

import base64
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.corpora._fetched import CACHE, PLACE


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a project, with the SHA-512 of its package in Base64, as npm writes it."""

    project: str
    version: str
    sha512: str

    def fetched(self) -> Path | None:
        """The directory that it is unpacked in; None where there is no npm. Nothing of it is run."""
        if not shutil.which("npm"):
            print(f"{self.project} {self.version} is left out: there is no npm")
            return None
        place = PLACE / f"npm-{self.project}-{self.version}"
        if not place.exists():
            print(f"Fetching {place.name}", flush=True)
            coming = PLACE / f"{place.name}.coming"
            shutil.rmtree(coming, ignore_errors=True)
            coming.mkdir(parents=True)
            options = ["--silent", "--ignore-scripts", f"--cache={CACHE / 'npm'}", f"--pack-destination={coming}"]
            command = ["npm", "pack", *options, f"{self.project}@{self.version}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (archive,) = coming.glob("*.tgz")
            found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            if found != self.sha512:
                sys.exit(f"{self.project} {self.version} from npm has the hash {found}, and not {self.sha512}")
            subprocess.run(["tar", "--extract", "--gzip", f"--file={archive}", f"--directory={coming}"], check=True)
            coming.rename(place)
        return place
