"""The package in clients/js, installed from its tarball: its tests, its examples, its types, and the end of servers."""

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import waypost
from tests.kit import javascript
from tests.kit.javascript import FETCHED, PACKAGE, ROOT, environment, run
from tests.kit.patience import PATIENCE, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(javascript.MISSING), reason=javascript.MISSING),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    javascript.install(folder)
    shutil.copytree(PACKAGE / "examples", folder / "examples")
    shutil.copytree(PACKAGE / "tests", folder / "tests", ignore=shutil.ignore_patterns("package*.json"))
    return folder


def test_the_package_contains_only_what_its_users_need(project):
    installed = project / "node_modules" / "waypost"
    found = {str(file.relative_to(installed)) for file in installed.rglob("*") if file.is_file()}
    sources = {"api.js", "index.d.ts", "index.js", "mail.js", "process.js"}
    assert found == {"LICENSE", "README.md", "package.json", *(f"lib/{name}" for name in sources)}
    about = json.loads((installed / "package.json").read_text(encoding="utf-8"))
    assert about["version"] == waypost.__version__
    assert about.keys().isdisjoint({"dependencies", "scripts"})
    assert (installed / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_package_passes_its_tests(project):
    shown = run(project, "node", "--test", "--test-reporter", "tap", "tests/waypost.test.mjs")
    assert int(re.search(r"^# pass (\d+)$", shown, re.MULTILINE)[1]) > 25
    assert "# fail 0" in shown


@pytest.mark.long
def test_the_example_for_node_test_passes(project):
    assert "# pass 2" in run(project, "node", "--test", "--test-reporter", "tap", "examples/node-test/support.test.mjs")


@pytest.mark.long
def test_the_example_for_jest_passes_and_jest_ends(project):
    assert "1 passed, 1 total" in javascript.jest(project, "examples/jest")


def test_the_page_shows_the_examples():
    page = (ROOT / "docs" / "how-to" / "javascript.md").read_text(encoding="utf-8")
    for example in (PACKAGE / "examples").glob("*/*"):
        assert f"```javascript\n{example.read_text(encoding='utf-8')}```" in page, example


@pytest.mark.long
def test_typescript_accepts_the_types(project):
    run(project, "node", FETCHED / "typescript/bin/tsc", "--project", "tests/tsconfig.json")


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, "ends", "throws"], ids=str)
def test_a_server_and_its_files_are_gone_when_the_tests_have_ended(project, tmp_path, how):
    command = ["node", "tests/keeps-running.mjs", how if isinstance(how, str) else ""]
    tests = subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(TMPDIR=str(tmp_path))
    )
    try:
        pid = json.loads(tests.stdout.readline())["pid"]
        if not isinstance(how, str):
            assert list(tmp_path.glob("waypost-*"))
            tests.send_signal(how)
        tests.wait(timeout=PATIENCE)
        wait_until(lambda: not Path(f"/proc/{pid}").exists() and not list(tmp_path.glob("waypost-*")))
    finally:
        tests.kill()
        tests.communicate()


def test_the_lock_file_names_no_registry():
    lock = (PACKAGE / "tests" / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert '"integrity"' in lock
