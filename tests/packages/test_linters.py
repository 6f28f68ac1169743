"""The linters of containers, deployments and workflows find no fault, and the licence of each dependency is known."""

import re
import subprocess
from pathlib import Path

import pytest

from scripts import licences

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / ".venv" / "release" / "bin"
WORKFLOW = (ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.long
def test_the_linters_find_no_fault():
    manifests = sorted(str(path) for path in (ROOT / "deploy" / "kubernetes").rglob("*.yaml"))
    for command in (
        ("hadolint", "Containerfile"),
        ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose/compose.yaml"),
        ("kubernetes-validate", "--strict", *manifests),
        ("zizmor", "--offline", "--no-progress", "--pedantic", ".github"),
    ):
        done = subprocess.run(
            [RELEASE / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_runs_only_targets_that_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    used = {target for line in re.findall(r"run: make (.+)", WORKFLOW) for target in line.split()}
    assert used <= targets
    assert {"check", "lint", "test", "installs", "sbom", "package"} <= used


def test_the_workflow_tests_each_python_that_the_package_supports():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    supported = re.findall(r'Python :: (3\.\d+)"', pyproject)
    (tested,) = re.findall(r"python: \[(.*)\]", WORKFLOW)
    assert re.findall(r'"(.*?)"', tested) == supported


def test_the_image_needs_no_file_that_is_not_sent_to_the_builder():
    container = (ROOT / "Containerfile").read_text(encoding="utf-8")
    copied = {
        name for line in re.findall(r"^COPY (?!--)(.*) /build/$", container, re.MULTILINE) for name in line.split()
    }
    sent = {
        line[1:]
        for line in (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    assert copied == sent


@pytest.mark.parametrize(
    ("package", "licence"),
    [
        ({"expression": "MIT", "licence": None, "classifiers": []}, "MIT"),
        (
            {
                "expression": None,
                "licence": "x",
                "classifiers": ["License :: OSI Approved", "License :: OSI Approved :: MIT License"],
            },
            "MIT License",
        ),
        ({"expression": None, "licence": "BSD-like\n", "classifiers": []}, "BSD-like"),
        ({"expression": None, "licence": "x" * 100, "classifiers": []}, "unknown"),
        ({"expression": None, "licence": None, "classifiers": []}, "unknown"),
    ],
)
def test_a_licence_is_the_expression_or_the_classifier_or_a_short_text(package, licence):
    assert licences.licence_of(package) == licence
