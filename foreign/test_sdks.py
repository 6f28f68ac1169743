"""Runs AWS SDKs in other languages, and moto's own tests of Connect, against a real Waypost server."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foreign import roots
from foreign.next_hops import JAVASCRIPT, why_no_package
from waypost import testing

HERE = Path(__file__).parent
MOTO = HERE.parents[0] / ".cache" / "foreign" / "moto"
"""The directory in which `make foreign` unpacks moto's source distribution."""

# Tests of operations that Waypost does not have, and of behaviour that differs intentionally.
NOT_OURS = "analytics or association or disassociate"


@pytest.fixture(scope="module")
def environment():
    """The environment variables that make an SDK use a running Waypost server."""
    with testing.server() as server:
        arguments = server.client_arguments
        yield {
            **os.environ,
            "AWS_ENDPOINT_URL_CONNECT": arguments["endpoint_url"],
            "AWS_REGION": arguments["region_name"],
            "AWS_ACCESS_KEY_ID": arguments["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": arguments["aws_secret_access_key"],
            "NO_PROXY": "127.0.0.1",
        }


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_aws_sdk_for_javascript_3_works_with_waypost(environment, record_property):
    if why_not := why_no_package("@aws-sdk/client-connect"):
        pytest.skip(why_not)
    output = run("node", HERE / "javascript/sdk.mjs", env={**environment, "FOREIGN": str(JAVASCRIPT)})
    record_property("to_be_told", f"AWS SDK for JavaScript 3: {output.strip()}")
    assert re.fullmatch(r"[0-9]+ checks passed\n", output)


def test_the_aws_sdk_for_go_2_works_with_waypost(environment, record_property):
    if why_not := roots.why_not("go"):
        pytest.skip(why_not)
    with roots.directory("go") as directory:
        for name in ("main.go", "endpoint.go"):
            shutil.copy(HERE / "go" / name, directory)
        build = f"cd {directory} && GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE={directory}/cache HOME=/root"
        run(*roots.command("go", "/bin/sh"), "-c", f"{build} CGO_ENABLED=0 go build -o check main.go endpoint.go")
        output = run(directory / "check", env=environment)
    record_property("to_be_told", f"AWS SDK for Go 2: {output.strip()}")
    assert re.fullmatch(r"[0-9]+ checks passed\n", output)


def test_waypost_passes_the_connect_tests_of_moto(tmp_path, record_property):
    tests = MOTO / "tests" / "test_connect" / "test_connect.py"
    if not tests.exists():
        pytest.skip("pip could not fetch moto's source distribution")
    shutil.copy(tests, tmp_path)
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-q", "--no-header"]
    output = run(*command, "-k", f"not ({NOT_OURS})", tmp_path / "test_connect.py",
               cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(HERE / "shim")})  # fmt: skip
    record_property("to_be_told", f"moto's tests of Connect: {output.splitlines()[-1]}")
