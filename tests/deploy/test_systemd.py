"""The unit of systemd is valid, hardened, and leaves the server enough time and enough rights."""

import ctypes.util
import re
import shutil
import subprocess
import sys

import pytest

from tests.kit.deployments import DEPLOY, LONGEST_STOP, files_needed
from tests.kit.patience import PATIENCE
from tests.kit.servers import unit_sandbox
from tests.kit.servers.running import fetch, system_started_by

UNIT = DEPLOY / "systemd" / "waypost.service"
PORTS = UNIT.with_name("waypost.service.d") / "ports.conf"
BACKUP = UNIT.with_name("waypost-backup.service")
TIMER = BACKUP.with_suffix(".timer")
INSTALLATION = DEPLOY.parent / "docs" / "how-to" / "install.md"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed: apt-get install systemd"
)
needs_libseccomp = pytest.mark.skipif(
    ctypes.util.find_library("seccomp") is None, reason="libseccomp is not installed: apt-get install libseccomp2"
)


@pytest.fixture(params=["the unit alone", "with the drop-in for ports", "the backup"])
def installed(request, tmp_path):
    """Return a unit whose program exists on this machine, in a directory of its own."""
    of = BACKUP if "backup" in request.param else UNIT
    unit = tmp_path / of.name
    unit.write_text(of.read_text(encoding="utf-8").replace("/opt/waypost/bin/waypost", sys.executable))
    if "drop-in" in request.param:
        (tmp_path / PORTS.parent.name).mkdir()
        shutil.copy(PORTS, tmp_path / PORTS.parent.name)
    return unit


@pytest.mark.slow
@needs_systemd
def test_systemd_finds_no_fault_in_the_unit(installed):
    done = subprocess.run(["systemd-analyze", "verify", installed], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@needs_systemd
def test_the_exposure_of_the_unit_is_below_2(installed):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", installed],  # in tenths
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:]
    (exposure,) = re.findall(rf"Overall exposure level for {installed.name}: (\d+\.\d)", done.stdout)
    assert float(exposure) < 2.0


@pytest.mark.slow
@pytest.mark.long
@needs_systemd
@needs_libseccomp
def test_a_server_works_with_the_system_calls_that_the_unit_allows():
    sandbox = [sys.executable, unit_sandbox.__file__, str(UNIT)]
    refused = subprocess.run(
        [*sandbox, sys.executable, "-c", "import socket; socket.socket(socket.AF_NETLINK)"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Operation not permitted" in refused.stderr
    with system_started_by(lambda command: [*sandbox, *command]) as system:
        alias, primary = system.linked_pair()
        message = system.deliver(b"Subject: hello\r\n\r\nHello.\r\n", alias)
        assert message in system.ids_at(primary)
        assert fetch(f"{system.server.url}/_waypost/metrics").status == 200
        system.json(f"messages/{message}", address=alias)  # reads the message in its own process


@pytest.mark.slow
@needs_systemd
@needs_libseccomp
def test_a_server_in_the_unit_does_not_know_whether_the_clock_is_synchronized():
    read = "from waypost.server.doctor import facts; print(facts._is_synchronized())"
    done = subprocess.run(
        [sys.executable, unit_sandbox.__file__, str(UNIT), sys.executable, "-c", read],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == "None\n", done.stderr


def test_systemd_waits_until_a_server_has_finished_its_work():
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)s$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert int(seconds) >= LONGEST_STOP


def test_systemd_starts_a_server_again_without_end():
    settings = unit_sandbox.settings_of(UNIT.read_text(encoding="utf-8"))
    assert settings["StartLimitIntervalSec"] == ["0"]
    assert settings["Restart"] == ["on-failure"]


def test_the_unit_allows_as_many_files_as_the_default_settings_need():
    (allowed,) = re.findall(r"^LimitNOFILE=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert int(allowed) >= files_needed()


def test_the_page_on_installation_installs_the_unit():
    page = INSTALLATION.read_text(encoding="utf-8")
    assert "install -m 644 deploy/systemd/waypost.service /etc/systemd/system/" in page
    assert "deploy/systemd/waypost.service.d/ports.conf" in page


@pytest.mark.slow
@needs_systemd
def test_systemd_finds_no_fault_in_the_timer_of_the_backup(tmp_path):
    for unit in (BACKUP, TIMER):
        text = unit.read_text(encoding="utf-8").replace("/opt/waypost/bin/waypost", sys.executable)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / TIMER.name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_of_the_backup_keeps_the_newest_14_and_removes_what_a_killed_one_has_left(tmp_path):
    backups = tmp_path / "backups"
    for day in range(1, 16):
        (backups / f"2001-11-{day:02}T023000Z").mkdir(parents=True)
        (backups / f"2001-11-{day:02}T023000Z" / "manifest.json").touch()
    (backups / "2001-11-16T023000Z.new").mkdir()
    (backups / "notes").mkdir()
    program = tmp_path / "waypost"
    program.write_text('#!/bin/sh\n[ "$1 $2 $3" = "backup --data /var/lib/waypost/data" ] && mkdir "$4"\n')
    program.chmod(0o700)
    commands = re.findall(r"^ExecStart\w*=/bin/sh -c '(.*)'$", BACKUP.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        script = command.replace("$$", "$").replace("%%", "%").replace("/opt/waypost/bin/waypost", str(program))
        script = script.replace("/var/lib/waypost-backup", str(backups))
        subprocess.run(["sh", "-euc", script], check=True, timeout=PATIENCE)
    left = sorted(path.name for path in backups.iterdir())
    assert left[:13] == [f"2001-11-{day:02}T023000Z" for day in range(3, 16)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z", left[13])
    assert left[14:] == ["notes"]
