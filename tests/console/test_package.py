"""The files of the console: they are in the wheel, they are small, and what is not ours has its license."""

import re
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest

from waypost.console.rendering import Static

ROOT = Path(__file__).parents[2]
CONSOLE = resources.files("waypost.console")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = directory.glob("*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_has_all_files_of_the_console(wheel):
    ours = [path for path in Path(str(CONSOLE)).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {path.suffix for path in ours} == {".py", ".html", ".css", ".js", ".svg", ".LICENSE"}
    names = {f"waypost/{path.relative_to(ROOT / 'src' / 'waypost').as_posix()}" for path in ours}
    assert names <= set(wheel.namelist())


@pytest.mark.parametrize(("name", "limit"), [("console.css", 20_000), ("console.js", 8 * 1024)])
def test_our_own_files_are_small(name, limit):
    assert len(CONSOLE.joinpath("static", name).read_bytes()) < limit


def test_htmx_has_its_version_and_its_license():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    version = re.search(r"htmx\.min\.js is htmx ([\d.]+)", notice)[1]
    assert f'version:"{version}"' in CONSOLE.joinpath("static", "htmx.min.js").read_text(encoding="utf-8")
    assert "Zero-Clause BSD" in CONSOLE.joinpath("static", "htmx.LICENSE").read_text(encoding="utf-8")


def test_a_browser_gets_no_other_files():
    assert set(Static().urls()) == {"console.css", "console.js", "htmx.min.js", "mark.svg"}


def test_a_server_imports_the_console_only_when_a_browser_asks_for_it():
    code = (
        "import sys; import waypost.server.service, waypost.cli; "
        "print([name for name in sys.modules if name.startswith(('jinja2', 'markupsafe', 'waypost.console'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"
