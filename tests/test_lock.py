"""The lock files are complete: they contain all dependencies of each locked package, for each supported Python.

`make` installs a lock file without resolving dependencies, so a package that the lock lacks would be missing at run
time.
"""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def _lines_of(name):
    """Return the requirements in a file of `requirements`, without its comments."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


DEV = ("demo", "postgres", "otel", "testcontainers", "dev")
WANTED = {
    "run": [*PROJECT["dependencies"], *EXTRAS["demo"], *_lines_of("build.in")],
    "server": [*PROJECT["dependencies"], *EXTRAS["postgres"]],
    "release": [*PROJECT["dependencies"], *EXTRAS["release"]],
    "dev": [*PROJECT["dependencies"], *(one for name in DEV for one in EXTRAS[name])],
    "docs": _lines_of("docs.in"),
}
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PLATFORMS = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix")}


def locked(name):
    """Return the pins of a lock file by package name. Each line is a requirement, `name[extras]==version ; marker`."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    pins = {}
    for line in re.findall(r"^[a-z0-9][^\\#\n]*", text, re.MULTILINE):
        requirement = Requirement(line.strip())
        pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


def environment(python, platform):
    system, os_name = PLATFORMS[platform]
    return default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
        "platform_system": system,
        "os_name": os_name,
    }


def missing(pins, wanted, where):
    """Return a sentence for each direct or transitive requirement that the lock does not satisfy."""
    problems, seen = [], set()
    todo = [(Requirement(text), "pyproject.toml", "") for text in wanted]
    while todo:
        requirement, required_by, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate(where | {"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        pin = next((p for p in pins.get(name, []) if not p.marker or p.marker.evaluate(where)), None)
        if pin is None or not requirement.extras <= pin.extras:
            problems.append(f"{required_by} requires {requirement}, which is not in the lock")
            continue
        (version,) = (specifier.version for specifier in pin.specifier)
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{required_by} requires {requirement}, but the lock has {version}")
        for chosen in ("", *requirement.extras):
            if (name, chosen) not in seen:
                seen.add((name, chosen))
                todo += [(Requirement(text), name, chosen) for text in requirements_of(name, version)]
    return problems


def requirements_of(name, version):
    """Return the requirements in a package's installed metadata; empty if the package is only for another platform."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return []
    return (distribution.requires or []) if distribution.version == version else []


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", WANTED)
def test_each_lock_file_is_complete(name, python, platform):
    assert missing(locked(name), WANTED[name], environment(python, platform)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("coverage[toml]==", "coverage=="), "pytest-cov requires coverage[toml]"),
        (("h11==", "another-name=="), "uvicorn requires h11"),
        (("msgspec==", "msgspec==0.1 # "), "the lock has 0.1"),
    ],
)
def test_a_missing_package_is_reported(monkeypatch, tmp_path, change, problem):
    (tmp_path / "requirements").mkdir()
    text = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    assert change[0] in text
    (tmp_path / "requirements" / "dev.txt").write_text(text.replace(*change), encoding="utf-8")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert any(problem in sentence for sentence in missing(locked("dev"), WANTED["dev"], environment("3.11", "linux")))


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_each_locked_version_has_hashes_and_no_url(path):
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    for block in re.split(r"\n(?=[a-z0-9])", text.strip()):
        assert " --hash=sha256:" in block, block.splitlines()[0]


def test_the_locked_versions_of_a_server_are_those_that_are_tested():
    tested = {name: {pin.specifier for pin in pins} for name, pins in locked("dev").items()}
    server = {name: {pin.specifier for pin in pins} for name, pins in locked("server").items()}
    assert {name: tested.get(name) for name in server} == server


def test_the_builder_in_the_image_is_the_locked_one():
    assert str(locked("sdists")["setuptools"][0]) == str(locked("run")["setuptools"][0])
