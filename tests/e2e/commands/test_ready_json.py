"""`waypost serve --ready-json` tells a program in one line of JSON where the server is."""

import json
import re
import smtplib
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

import waypost
from tests.kit.patience import PATIENCE
from tests.kit.servers.running import fetch

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "ready-json.md"
ON_FREE_PORTS = ("--http", "127.0.0.1:0", "--smtp", "0.0.0.0:0")


def start(tmp_path, *arguments):
    command = [sys.executable, "-m", "waypost", "serve", "--ready-json", *arguments, *ON_FREE_PORTS, "--data", "data"]
    return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def members(shown):
    return {name: type(value) for name, value in shown.items() if value is not None}


@pytest.mark.parametrize("arguments", [(), ("--smtps", "127.0.0.1:0", "--tls-certificate", "self-signed")], ids=str)
def test_a_program_can_use_the_server_after_it_has_read_the_line(tmp_path, arguments):
    with start(tmp_path, *arguments) as process:
        ready = json.loads(process.stdout.readline())
        connect = boto3.Session(region_name=ready["region"]).client(
            "connect", endpoint_url=ready["api_url"], **keys_in(ready["credentials"])
        )
        (instance,) = connect.list_instances()["InstanceSummaryList"]
        assert instance["Id"] == ready["instance_id"]
        with smtplib.SMTP(ready["smtp"]["host"], ready["smtp"]["port"], timeout=PATIENCE) as mail:
            assert mail.noop()[0] == 250
        assert fetch(ready["inspection_url"] + "health").status == 200
        assert ready["pid"] == process.pid
        process.terminate()
        rest, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, rest) == (0, "")
    assert (ready["version"], ready["data"]) == (waypost.__version__, str(tmp_path / "data"))
    assert ready["smtp"]["host"] == "127.0.0.1"
    assert (ready["smtps"] is None) == (not arguments)
    assert (ready["certificate"] is None) == (not arguments)


def keys_in(path):
    lines = dict(line.split(" = ") for line in Path(path).read_text().splitlines() if " = " in line)
    return {name: lines[name] for name in ("aws_access_key_id", "aws_secret_access_key")}


def test_with_worker_processes_the_process_is_the_supervisor(tmp_path):
    with start(tmp_path, "--workers", "2") as process:
        ready = json.loads(process.stdout.readline())
        assert ready["pid"] == process.pid
        assert fetch(ready["inspection_url"] + "health").status == 200
        process.terminate()
        rest, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, rest) == (0, "")


def test_the_page_lists_the_members_with_their_types(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall("```json\n(.*?)```", text, re.DOTALL)
    listed = [name for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for name in re.findall("`(.*?)`", row)]
    with start(tmp_path, "--console-link", "always") as process:
        ready = json.loads(process.stdout.readline())
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert list(ready) == listed == list(json.loads(example))
    assert members(ready) == members(json.loads(example))


def test_a_server_that_cannot_start_prints_no_line(tmp_path):
    (tmp_path / "data").write_text("no directory")
    with start(tmp_path) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (out, process.returncode) == ("", 1)
    assert err.splitlines()[-1].startswith("waypost: ")
